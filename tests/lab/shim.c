/*
 * Preloaded into the recorder under test: makes happen what cannot be had here
 * for real.
 *
 * SHIM_FAIL   writes to files whose path ends so fail with EIO ...
 * SHIM_AFTER  ... behind so many bytes, the last of them taken in part
 * SHIM_POLL   once this file exists, poll fails with EIO
 * SHIM_STEP   once this file exists, the wall clock is an hour back
 * SHIM_SLOW   time passes so many times more slowly
 * SHIM_RIGHTS new rights cannot be forgone (PR_SET_NO_NEW_PRIVS)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static int fails(int fd)
{
	const char *ending = getenv("SHIM_FAIL");
	char link[64], path[4096];
	ssize_t length;

	if (!ending)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < (ssize_t)strlen(ending))
		return 0;
	path[length] = 0;
	return !strcmp(path + length - strlen(ending), ending);
}

ssize_t write(int fd, const void *bytes, size_t count)
{
	ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
	static atomic_long written;
	long left;
	ssize_t taken;

	if (!fails(fd))
		return next(fd, bytes, count);
	left = atol(getenv("SHIM_AFTER")) - written;
	if (left <= 0) {
		errno = EIO;
		return -1;
	}
	taken = next(fd, bytes, count < (size_t)left ? count : (size_t)left);
	if (taken > 0)
		written += taken;
	return taken;
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	int (*next)(struct pollfd *, nfds_t, int) = dlsym(RTLD_NEXT, "poll");
	const char *failure = getenv("SHIM_POLL");

	if (failure && !access(failure, F_OK)) {
		errno = EIO;
		return -1;
	}
	return next(fds, count, timeout_ms);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int (*next)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
	const char *step = getenv("SHIM_STEP"), *slow = getenv("SHIM_SLOW");
	int result = next(clock, time);

	if (clock == CLOCK_MONOTONIC && slow) {
		long long ns = (time->tv_sec * 1000000000LL + time->tv_nsec) / atol(slow);

		time->tv_sec = ns / 1000000000;
		time->tv_nsec = ns % 1000000000;
	}
	if (clock == CLOCK_REALTIME && step && !access(step, F_OK))
		time->tv_sec -= 3600;
	return result;
}

int prctl(int option, ...)
{
	int (*next)(int, ...) = dlsym(RTLD_NEXT, "prctl");
	unsigned long values[4];
	va_list list;

	if (option == PR_SET_NO_NEW_PRIVS && getenv("SHIM_RIGHTS")) {
		errno = EPERM;
		return -1;
	}
	va_start(list, option);
	for (int place = 0; place < 4; place++)
		values[place] = va_arg(list, unsigned long);
	va_end(list);
	return next(option, values[0], values[1], values[2], values[3]);
}
