#!/usr/bin/env python3
"""What recording costs: tcprec beside tcpdump and dumpcap, in one run.

Two network namespaces with a veth pair between them; a web server or iperf3 in
one of them, where the recorders run, and the load in the other. Each round runs
every load once without a recorder and once with each, in turn, so that whatever
else the machine does hits all of them; the table shows medians over the rounds,
and of memory and losses the worst.

    cpu     CPU time of the recorder's processes since it was ready, user and
            system, in seconds per million packets that it recorded
    reader  of it, that of the first process's first thread: tcprec's, which reads
            the rings; 1 is what one CPU can do at a million packets a second
    kernel  run time of its BPF programs (kernel.bpf_stats_enabled), the same
    system  under the paced load, CPU time of the whole machine (what it was not idle)
            per million packets, less that of the load without a recorder: what
            recording really costs, with what packet sockets cost the kernel when
            packets arrive, which is in nobody's books; no more exact than 0.5
    memory  peak resident memory of its processes, in MB; of BPF rings, which are
            mapped twice, once
    size    bytes on disk per packet
    alone   the same without what tcpdump does not write: only the packets' lines,
            compressed the same way
    lost    packets it says it lost
    load    throughput of the load, 1 is without a recorder

All keep the same bytes of the same packets (-s 256), but for `tcprec (default)`,
which keeps what tcprec keeps when it is not told. tcprec records the kernel's
events too, and nanoseconds; tcpdump keeps microseconds, but for `tcpdump --nano`,
which is told to keep nanoseconds: the same packets with the same times as tcprec's.

Run it as root by `make bench`, on a machine with nothing else to do.
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SNAP = 256
LINK = "tcprecb"
SERVER, CLIENT = "10.78.0.1", "10.78.0.2"
TICKS = os.sysconf("SC_CLK_TCK")

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000;
    client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
    uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
    server {{ listen {address}:80; location / {{ return 200 'hello\\n'; }} }}
}}
"""


class Lab:
    """Two hosts: processes of this one, each holding a network namespace."""

    def __init__(self, folder):
        self.started = []
        try:
            self.come_up(os.path.abspath(folder))
        except BaseException:
            self.close()
            raise

    def come_up(self, folder):
        self.hosts = [self.start(["unshare", "--net", "sleep", "infinity"]) for _ in range(2)]
        for host in self.hosts:
            wait_until(lambda: os.readlink(f"/proc/{host.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        server, client = self.hosts
        run("ip", "link", "add", f"{LINK}0", "netns", str(server.pid), "type", "veth",
            "peer", "name", f"{LINK}1", "netns", str(client.pid))
        for host, name, address in ((server, f"{LINK}0", SERVER), (client, f"{LINK}1", CLIENT)):
            run(*self.on(host), "ip", "address", "add", f"{address}/24", "dev", name)
            run(*self.on(host), "ip", "link", "set", name, "up")
            run(*self.on(host), "ip", "link", "set", "lo", "up")
        configuration = os.path.join(folder, "nginx.conf")
        with open(configuration, "w") as file:
            file.write(NGINX.format(folder=folder, address=SERVER))
        self.start([*self.on(server), "nginx", "-p", folder, "-e", f"{folder}/errors", "-c", configuration])
        self.start([*self.on(server), "iperf3", "--server", "--bind", SERVER], stdout=subprocess.DEVNULL)
        for port in (80, 5201):
            check = [*self.on(client), "bash", "-c", f"exec 3<>/dev/tcp/{SERVER}/{port}"]
            wait_until(lambda: subprocess.run(check, stderr=subprocess.DEVNULL).returncode == 0)

    def packets(self):
        """How many packets passed the interface that is recorded."""
        for line in open(f"/proc/{self.hosts[0].pid}/net/dev"):
            name, _, counters = line.partition(":")
            if name.strip() == f"{LINK}0":
                fields = counters.split()
                return int(fields[1]) + int(fields[9])
        sys.exit(f"{LINK}0 is gone")

    def on(self, host):
        return ["nsenter", f"--net=/proc/{host.pid}/ns/net"]

    def start(self, command, **options):
        process = subprocess.Popen(command, **options)
        self.started.append(process)
        return process

    def close(self):
        for process in reversed(self.started):
            if process.poll() is None:
                process.terminate()
                process.wait()


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("the lab does not come up")
        time.sleep(0.02)


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def busy_seconds():
    """CPU time that this machine has spent so far on anything, from any point on:
    what it was not idle. The kernel measures how long it is idle, and only samples what
    else it does."""
    _user, _nice, _system, idle, iowait = map(int, open("/proc/stat").readline().split()[1:6])
    return time.monotonic() * os.cpu_count() - (idle + iowait) / TICKS


def loads(seconds):
    """Each load: its name, its command, and how to read its throughput. `paced`
    leaves the machine idle most of the time, so that what it spends can be told."""
    wrk = ["wrk", "-t1", "-c20", f"-d{seconds}", f"http://{SERVER}/"]
    def iperf(seconds, *options):
        return ["iperf3", "--client", SERVER, "--time", str(seconds), "--json", *options]

    writes = ["--length", "64", "--no-delay"]
    per_second = re.compile(r"Requests/sec:\s+([\d.]+)")
    bits = re.compile(r'"sum_received".*?"bits_per_second":\s*([\d.e+]+)', re.S)
    return [
        ("keep-alive", wrk, per_second),
        ("connections", [*wrk, "-H", "Connection: close"], per_second),
        ("bulk", iperf(seconds), bits),
        ("small", iperf(seconds, *writes), bits),
        # Longer: what it spends is told in hundredths of a second.
        ("paced", iperf(4 * seconds, *writes, "--bitrate", "10M"), bits),
    ]


class Recorder:
    """A way to record: its pipeline of commands, its file, and what it says."""

    def __init__(self, name, commands, ready, recorded, lost):
        self.name, self.commands, self.ready = name, commands, ready
        self.recorded, self.lost = recorded, lost

    def start(self, lab, path):
        self.path = path
        self.log_path = path + ".log"
        self.log = open(self.log_path, "w")
        self.processes = []
        previous = None
        for place, command in enumerate(self.commands):
            last = place == len(self.commands) - 1
            command = [part.replace("FILE", path) for part in command]
            if place == 0:
                command = [*lab.on(lab.hosts[0]), *command]
            process = subprocess.Popen(command, stdin=previous, stderr=self.log,
                                       stdout=self.log if last else subprocess.PIPE)
            previous = process.stdout
            self.processes.append(process)
        wait_until(lambda: self.ready in open(self.log_path).read())
        self.starting = self.cpu_seconds()

    def cpu_seconds(self):
        """Of all processes, and of the first thread of the first."""
        first = self.processes[0].pid
        stats = [f"/proc/{process.pid}/stat" for process in self.processes]
        *each, reader = map(thread_seconds, [*stats, f"/proc/{first}/task/{first}/stat"])
        return sum(each), reader

    def stop(self):
        cpu, reader = (now - then for now, then in zip(self.cpu_seconds(), self.starting))
        memory, kernel = 0.0, 0.0
        for process in self.processes:
            memory += peak_memory(process.pid)
            kernel += bpf_seconds(process.pid)
        self.processes[0].send_signal(signal.SIGINT)
        for process in self.processes:
            process.wait()
        self.log.close()
        log = open(self.log_path).read()
        number = lambda pattern: sum(int(found.replace(",", "")) for found in re.findall(pattern, log))
        packets = max(number(self.recorded), 1)
        return {
            "cpu": cpu / packets * 1e6,
            "reader": reader / packets * 1e6,
            "kernel": kernel / packets * 1e6,
            "memory": memory,
            "size": os.path.getsize(self.path) / packets,
            **({"alone": packets_alone(self.path) / packets} if self.path.endswith(".jsonl.zst") else {}),
            "lost": number(self.lost),
            "packets": packets,
        }


def thread_seconds(stat):
    """CPU time that a file of /proc tells of, user and system."""
    fields = open(stat).read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_memory(pid):
    """In MB."""
    peak = int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])
    maps = re.split(r"\n(?=[0-9a-f]+-)", open(f"/proc/{pid}/smaps").read())
    for ring in (part for part in maps if "anon_inode:bpf-map" in part):
        resident, share = (int(re.search(rf"^{name}:\s+(\d+)", ring, re.M)[1]) for name in ("Rss", "Pss"))
        peak -= resident - share
    return peak / 1024


def packets_alone(path):
    """What a jsonl.zst file would take if it held packets only."""
    lines = f"zstdcat {path} | grep '^{{\"type\":\"packet\"' | zstd -1 | wc -c"
    return int(run("bash", "-c", lines))


def bpf_seconds(pid):
    """Run time of the BPF programs that a process holds, each counted once."""
    programs = {}
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            info = open(f"/proc/{pid}/fdinfo/{fd}").read()
        except OSError:
            continue
        if found := re.search(r"prog_id:\s+(\d+)\nrun_time_ns:\s+(\d+)", info):
            programs[found[1]] = int(found[2])
    return sum(programs.values()) / 1e9


def recorders(tcprec):
    def ours(name, extension, snap=("-s", str(SNAP))):
        command = [tcprec, "record", "-i", f"{LINK}0", *snap, "-o", f"FILE{extension}"]
        return Recorder(name, [command], "recording on", r"([\d,]+) packets \(", r"recorded, ([\d,]+) lost")

    tcpdump = ["tcpdump", "-n", "-i", f"{LINK}0", "-s", str(SNAP), "-Z", "root"]
    nano = ["--time-stamp-precision=nano"]
    zstd = ["zstd", "-q", "-3", "-f", "-o", "FILE"]
    captured = (r"(\d+) packets captured", r"(\d+) packets dropped by kernel")
    dumpcap = ["dumpcap", "-q", "-i", f"{LINK}0", "-s", str(SNAP), "-w", "FILE"]
    return [
        ours("tcprec jsonl.zst", ".jsonl.zst"),
        Recorder("tcpdump | zstd -3", [[*tcpdump, "-w", "-"], zstd], "listening on", *captured),
        Recorder("tcpdump --nano | zstd -3", [[*tcpdump, *nano, "-w", "-"], zstd], "listening on", *captured),
        ours("tcprec (default)", ".jsonl.zst", ()),
        ours("tcprec pcapng", ".pcapng"),
        Recorder("tcpdump -w", [[*tcpdump, "-w", "FILE"]], "listening on", *captured),
        Recorder("dumpcap", [dumpcap], "File:", r"Packets captured: (\d+)", r"received/dropped.*?/(\d+)"),
    ]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("tcprec", help="the program to measure")
    arguments.add_argument("--seconds", type=int, default=3, help="length of one load")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--load", action="append", help="only this one; may be given more than once")
    options = arguments.parse_args()
    if os.geteuid() != 0:
        sys.exit("recording needs root: run it with sudo")
    missing = [name for name in ("wrk", "iperf3", "nginx", "tcpdump", "dumpcap", "zstd") if not shutil.which(name)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}")

    folder = tempfile.mkdtemp(prefix="tcprec-bench.")
    os.chmod(folder, 0o755)
    stats = "/proc/sys/kernel/bpf_stats_enabled"
    before = open(stats).read()
    open(stats, "w").write("1")
    lab = None
    try:
        lab = Lab(folder)
        measure(lab, folder, options)
    finally:
        open(stats, "w").write(before)
        if lab:
            lab.close()
        shutil.rmtree(folder)


def measure(lab, folder, options):
    results = {}
    for turn in range(options.rounds):
        for load, command, throughput in loads(options.seconds):
            if options.load and load not in options.load:
                continue
            def under_load():
                busy, packets = busy_seconds(), lab.packets()
                output = run(*lab.on(lab.hosts[1]), *command)
                # The recorder writes the last of it.
                time.sleep(0.3)
                per_million = (busy_seconds() - busy) / (lab.packets() - packets) * 1e6
                return float(throughput.search(output)[1]), per_million

            rate_alone, system_alone = under_load()
            for recorder in recorders(options.tcprec):
                suffix = recorder.commands[0][-1].removeprefix("FILE") if "tcprec" in recorder.name else ""
                path = os.path.join(folder, "capture" + suffix)
                recorder.start(lab, path.removesuffix(suffix) if suffix else path)
                recorder.path = path
                rate, system = under_load()
                figures = recorder.stop()
                figures["load"] = rate / rate_alone
                if load == "paced":
                    figures["system"] = system - system_alone
                results.setdefault((load, recorder.name), []).append(figures)
                os.remove(path)
        print(f"round {turn + 1} of {options.rounds}", file=sys.stderr)
    show(results, options)


COLUMNS = {"packets": 0, "cpu": 2, "reader": 2, "kernel": 2, "system": 1, "memory": 0, "size": 1, "alone": 1, "lost": 0, "load": 2}


def show(results, options):
    """Prints what the rounds came to as a Markdown table."""
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())[1]
    print(f"{os.cpu_count()} CPUs ({model}), Linux {os.uname().release}; snap length {SNAP}, "
          f"{options.rounds} rounds of {options.seconds} s: medians; of memory and losses the worst\n")
    print("| load | recorder |" + "".join(f" {name} |" for name in COLUMNS))
    print("| --- | --- |" + " ---: |" * len(COLUMNS))
    for (load, name), rounds in results.items():
        cells = []
        for column, digits in COLUMNS.items():
            values = [figures[column] for figures in rounds if column in figures]
            one = max if column in ("memory", "lost") else statistics.median
            cells.append(f"{one(values):.{digits}f}" if values else "")
        name = name.replace("|", "\\|")
        print(f"| {load} | {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
