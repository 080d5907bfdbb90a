#!/usr/bin/env python3
"""What recording costs: tcprec beside tcpdump and dumpcap, in one run.

Two network namespaces with a veth pair between them; a web server or iperf3 in
one of them, where the recorders run, and the load in the other. Each round runs
every recorder once under every load, in turn, so that whatever else the
machine does hits all of them; the table shows medians over the rounds.

    cpu     CPU time of the recorder's processes since it was ready, user and
            system, in seconds per million packets that it recorded
    kernel  run time of its BPF programs (kernel.bpf_stats_enabled), the same;
            what tcpdump's and dumpcap's packet sockets cost the kernel while
            packets arrive is in nobody's books
    memory  peak resident memory of its processes, in MB
    size    bytes on disk per packet
    lost    packets it says it lost
    load    throughput of the load, 1 is without a recorder

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
        self.folder = folder
        self.started = []
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


def loads(seconds):
    """Each load: its name, its command, and how to read its throughput."""
    wrk = ["wrk", "-t1", "-c20", f"-d{seconds}", f"http://{SERVER}/"]
    iperf = ["iperf3", "--client", SERVER, "--time", str(seconds), "--json"]
    per_second = re.compile(r"Requests/sec:\s+([\d.]+)")
    bits = re.compile(r'"sum_received".*?"bits_per_second":\s*([\d.e+]+)', re.S)
    return [
        ("keep-alive", wrk, per_second),
        ("connections", [*wrk, "-H", "Connection: close"], per_second),
        ("bulk", iperf, bits),
        ("small", [*iperf, "--length", "64", "--no-delay"], bits),
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
        total = 0.0
        for process in self.processes:
            fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / TICKS
        return total

    def stop(self):
        time.sleep(0.3)
        cpu, memory, kernel = self.cpu_seconds() - self.starting, 0.0, 0.0
        for process in self.processes:
            memory += int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{process.pid}/status").read())[1]) / 1024
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
            "kernel": kernel / packets * 1e6,
            "memory": memory,
            "size": os.path.getsize(self.path) / packets,
            "lost": number(self.lost),
            "packets": packets,
        }


def bpf_seconds(pid):
    total = 0
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            found = re.search(r"run_time_ns:\s+(\d+)", open(f"/proc/{pid}/fdinfo/{fd}").read())
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total / 1e9


def recorders(tcprec):
    def ours(name, extension):
        command = [tcprec, "record", "-i", f"{LINK}0", "-s", str(SNAP), "-o", f"FILE{extension}"]
        return Recorder(name, [command], "recording on", r"([\d,]+) packets \(", r"recorded, ([\d,]+) lost")

    tcpdump = ["tcpdump", "-n", "-i", f"{LINK}0", "-s", str(SNAP), "-Z", "root"]
    captured = (r"(\d+) packets captured", r"(\d+) packets dropped by kernel")
    dumpcap = ["dumpcap", "-q", "-i", f"{LINK}0", "-s", str(SNAP), "-w", "FILE"]
    return [
        ours("tcprec jsonl.zst", ".jsonl.zst"),
        Recorder("tcpdump | zstd -3", [[*tcpdump, "-w", "-"], ["zstd", "-q", "-3", "-f", "-o", "FILE"]],
                 "listening on", *captured),
        ours("tcprec pcapng", ".pcapng"),
        Recorder("tcpdump -w", [[*tcpdump, "-w", "FILE"]], "listening on", *captured),
        Recorder("dumpcap", [dumpcap], "File:", r"Packets captured: (\d+)", r"received/dropped.*?/(\d+)"),
    ]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("tcprec", help="the program to measure")
    arguments.add_argument("--seconds", type=int, default=4, help="length of one load")
    arguments.add_argument("--rounds", type=int, default=3)
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
            def under_load():
                output = run(*lab.on(lab.hosts[1]), *command)
                return float(throughput.search(output)[1])

            alone = under_load()
            for recorder in recorders(options.tcprec):
                suffix = recorder.commands[0][-1].removeprefix("FILE") if "tcprec" in recorder.name else ""
                path = os.path.join(folder, "capture" + suffix)
                recorder.start(lab, path.removesuffix(suffix) if suffix else path)
                recorder.path = path
                rate = under_load()
                figures = recorder.stop()
                figures["load"] = rate / alone
                results.setdefault((load, recorder.name), []).append(figures)
                os.remove(path)
        print(f"round {turn + 1} of {options.rounds}", file=sys.stderr)

    print(f"snap length {SNAP}, {options.rounds} rounds of {options.seconds} s, medians")
    print(f"{'load':<12} {'recorder':<18} {'packets':>9} {'cpu':>7} {'kernel':>7} {'memory':>7} {'size':>7} {'lost':>7} {'load':>6}")
    for (load, name), rounds in results.items():
        middle = {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}
        print(f"{load:<12} {name:<18} {middle['packets']:>9.0f} {middle['cpu']:>7.2f} {middle['kernel']:>7.2f} "
              f"{middle['memory']:>7.1f} {middle['size']:>7.1f} {middle['lost']:>7.0f} {middle['load']:>6.2f}")


if __name__ == "__main__":
    main()
