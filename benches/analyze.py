#!/usr/bin/env python3
"""What analyzing costs: tcprec beside tcptrace, tshark and others, in one run.

A capture of at least three million packets (of one million the fastest programs
need less than a tenth of a second, and chance tells how much less) is recorded in
the lab of record.py (wrk with connections that are kept and with new ones, and
iperf3), and converted to each format; it is kept in the folder for the next run.
Then each program reads it, in turn, so that whatever else the machine does hits
all of them; the table shows the best of the rounds, of each figure. Each time a
program runs twice in a row: a virtual machine may have to ask for each page that it
gave back since, and the first to need it would wait for that and the next would not.

    records/s   records of the capture per second of CPU time, user and system,
                of all threads: what one core does. In a pcap file all are
                packets, in the others some are events
    cpu, wall   seconds, and the time that passed meanwhile
    cores       CPU time by time
    memory      peak resident memory, in MB
    x tcptrace  how many times as fast as tcptrace with the packets of this capture,
    x tshark    and as tshark (-q -z conv,tcp), by the time that passed: with all
                cores, or on one where the name says so

At the end a capture of 10 GB is streamed through a pipe: the packets of this
one, over and over, each time at later times and between other addresses.

Run it as root by `make bench-analyze`, on a machine with nothing else to do.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import record

TOOLS = ("tcptrace", "tshark", "tcpdump", "capinfos", "cat")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("tcprec", help="the program to measure")
    arguments.add_argument("--folder", required=True, help="where captures are kept from run to run")
    arguments.add_argument("--packets", type=int, default=3_000_000, help="at least so many are captured")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--gigabytes", type=float, default=10, help="size of the capture that is streamed")
    options = arguments.parse_args()
    missing = [name for name in TOOLS if not shutil.which(name)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}")
    os.makedirs(options.folder, exist_ok=True)
    captures = make_captures(options)
    # Not read here: what this process has in memory counts for those it starts.
    packets = int(record.run("capinfos", "-T", "-r", "-M", "-c", captures["pcap"]).split()[-1])
    lines = int(subprocess.run(["bash", "-c", 'zstd -dcq "$1" | wc -l', "-", captures["jsonl.zst"]],
                               check=True, capture_output=True).stdout)
    measure(options, captures, {kind: packets if kind == "pcap" else lines for kind in captures})
    stream(options, captures["pcap"])


def make_captures(options):
    paths = {kind: os.path.join(options.folder, f"capture.{kind}") for kind in ("jsonl.zst", "pcapng", "pcapng.zst", "pcap")}
    if not all(os.path.exists(path) for path in paths.values()):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            made = {kind: os.path.join(folder, f"capture.{kind}") for kind in paths}
            capture(options, folder, made["jsonl.zst"])
            for kind in ("pcapng", "pcapng.zst"):
                record.run(options.tcprec, "convert", made["jsonl.zst"], made[kind])
            record.run("tcpdump", "-r", made["pcapng"], "-w", made["pcap"])
            for kind, path in made.items():
                os.replace(path, paths[kind])
    return paths


def capture(options, folder, path):
    """Records a third of the packets under each load."""
    if os.geteuid() != 0:
        sys.exit("recording needs root: run it with sudo")
    os.chmod(folder, 0o755)
    lab = None
    try:
        lab = record.Lab(folder)
        server, client = lab.hosts
        # All into the ring at once, rather than lost: the loads do not wait.
        command = [options.tcprec, "record", "-i", f"{record.LINK}0", "-s", str(record.SNAP), "-o", path]
        with open(os.path.join(folder, "log"), "w+") as log:
            recorder = lab.start([*lab.on(server), *command], stderr=log)
            record.wait_until(lambda: "recording on" in open(log.name).read())
            counted = 0
            for load in record.loads(1)[:3]:
                counted += options.packets // 3
                while passed(lab, server) < counted:
                    record.run(*lab.on(client), *load[1])
            recorder.send_signal(record.signal.SIGINT)
            recorder.wait()
            print(open(log.name).read(), file=sys.stderr)
    finally:
        if lab:
            lab.close()


def passed(lab, host):
    links = json.loads(record.run(*lab.on(host), "ip", "-json", "-statistics", "link", "show", f"{record.LINK}0"))
    counters = links[0]["stats64"]
    return counters["rx"]["packets"] + counters["tx"]["packets"]


def packets_of(pcap):
    """Where each packet of a capture in this machine's byte order begins, and its captured length."""
    place = 24
    while place + 16 <= len(pcap):
        length = struct.unpack_from("<I", pcap, place + 8)[0]
        yield place, length
        place += 16 + length


def measure(options, captures, records):
    tcprec = options.tcprec
    pcap = captures["pcap"]
    commands = [("cat", "pcap", ["cat", pcap])]
    for kind, path in captures.items():
        for name in ("tcprec analyze --no-requests", "tcprec analyze"):
            command = [tcprec, *name.split()[1:], path]
            commands.append((name, kind, command))
            if kind in ("pcap", "jsonl.zst"):
                commands.append((f"{name}, 1 core", kind, ["taskset", "-c", "0", *command]))
    commands += [
        ("tcprec analyze --format jsonl", "pcap", [tcprec, "analyze", "--format", "jsonl", pcap]),
        ("tcptrace", "pcap", ["tcptrace", pcap]),
        ("tcptrace -lr", "pcap", ["tcptrace", "-lr", pcap]),
        ("tcpdump -r -n", "pcap", ["tcpdump", "-n", "-r", pcap]),
        ("tcpdump -r -w", "pcap", ["tcpdump", "-r", pcap, "-w", "/dev/null"]),
        ("capinfos", "pcap", ["capinfos", pcap]),
        ("tshark -q -z conv,tcp", "pcap", ["tshark", "-n", "-q", "-z", "conv,tcp", "-r", pcap]),
    ]
    best = {}
    for turn in range(options.rounds):
        for name, kind, command in commands:
            if name.startswith("tshark") and turn > 0:
                continue  # it takes as long as all others together
            key = (name, kind)
            for figures in (run(command), run(command)):
                best[key] = tuple(map(min, best.get(key, figures), figures))
        print(f"round {turn + 1} of {options.rounds}", file=sys.stderr)
    print(f"{records['pcap']:,} packets, {os.cpu_count()} cores, the best of {options.rounds} rounds")
    print(f"{'':<36} {'of':<11} {'size MB':>8} {'records/s':>12} {'cpu':>7} {'wall':>7} {'cores':>6} {'memory':>7} "
          f"{'x tcptrace':>11} {'x tshark':>9}")
    others_wall = [best[name, "pcap"][1] for name in ("tcptrace", "tshark -q -z conv,tcp")]
    for (name, kind), (cpu, wall, memory) in best.items():
        size = os.path.getsize(captures[kind]) / 1e6
        by_tcptrace, by_tshark = (other / wall for other in others_wall)
        print(f"{name:<36} {kind:<11} {size:>8.1f} {records[kind] / cpu:>12,.0f} {cpu:>7.2f} {wall:>7.2f} "
              f"{cpu / wall:>6.2f} {memory:>7.1f} {by_tcptrace:>11.2f} {by_tshark:>9.1f}")


def run(command, stdin=None):
    """CPU seconds, seconds, and peak memory in MB of a command."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if stdin is not None:
        stdin.close()
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}: {said.decode()}")
    return max(usage.ru_utime + usage.ru_stime, 1e-3), time.monotonic() - begin, usage.ru_maxrss / 1024


def stream(options, path):
    """A capture that is larger than any memory, through a pipe."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        repeat(path, int(options.gigabytes * 1e9), writing)
        os._exit(0)
    os.close(writing)
    cpu, wall, memory = run([options.tcprec, "analyze", "-"], os.fdopen(reading, "rb"))
    os.waitpid(child, 0)
    print(f"{options.gigabytes:g} GB through a pipe: {cpu:.1f} s CPU, {wall:.1f} s, at most {memory:.1f} MB of memory")


def repeat(path, size, to):
    """Writes the packets of an Ethernet capture again and again: each time the
    second octet of IPv4 addresses is the next, and the time goes on."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    places = [(place, place + 16 + 14 + 12 + 1) for place, length in packets_of(data) if length >= 34]
    first, last = (struct.unpack_from("<I", data, place)[0] for place in (places[0][0], places[-1][0]))
    seconds = last - first + 1
    written = os.write(to, data[:24])
    packets = memoryview(data)[24:]
    put = struct.Struct("<I").pack_into
    get = struct.Struct("<I").unpack_from
    octet = data[places[0][1]]
    try:
        while written < size:
            view = packets
            while view:
                view = view[os.write(to, view[: 1 << 20]) :]
            written += len(packets)
            octet = (octet + 1) % 256
            for time_at, source_at in places:
                put(data, time_at, get(data, time_at)[0] + seconds)
                data[source_at] = data[source_at + 4] = octet
    except BrokenPipeError:
        pass


if __name__ == "__main__":
    main()
