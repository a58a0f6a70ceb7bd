#!/usr/bin/python3 -IS
"""A fake CNI plugin that behaves like a product where the reference plugins never do.

Its configuration chooses the behaviour:

    number         of the network: its subnets are 10.N.0.0/24 and fd00:N::/64, gateways .1 and ::1
    families       [4], [6] or [4, 6]
    default        what it does with its default route (it reports none, unless it appends):
                   "appends"   adds it beside any other, and reports it (bridge with host-local)
                   "fails"     adds it, fails where one exists; its gateway has no subnet (Calico)
                   "skips"     adds it only where there is none (Weave Net)
                   "replaces"  puts it in the place of the one that exists
                   "none"      brings none
    keepsByContainer  keeps its state by container id alone (Flannel)
    oneLink        deletes the host's end of the link that it made for the container before (Calico)
    needs          fails unless this file of a daemon is there (Flannel's subnet.env)
    router         a program that advertises a default route on the link; ADD waits for the pod's
                   kernel to accept it
    noise          writes this to standard error, and blank lines around its result
    dataDir        one file per address that is in use, in a folder of the network's name
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CONF = json.load(sys.stdin)
NUMBER, FAMILIES = CONF["number"], CONF["families"]
CONTAINER, INTERFACE = os.environ["CNI_CONTAINERID"], os.environ["CNI_IFNAME"]
NETNS = os.environ["CNI_NETNS"]
STORE = f"{CONF['dataDir']}/{CONF['name']}"
OWNER = CONTAINER if CONF.get("keepsByContainer") else f"{CONTAINER}.{INTERFACE}"
EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
USABLE = {4: "", 6: " nodad"}  # at once
GATEWAYS = {4: f"10.{NUMBER}.0.1", 6: f"fd00:{NUMBER}::1"}


def fail(msg: str) -> NoReturn:
    print(json.dumps({"cniVersion": "1.0.0", "code": 11, "msg": msg}))
    sys.exit(1)


def ip(*lines: str, pod: bool = True, family: int = 0) -> str:
    """Run lines of that program, inside the pod or not; return the output, or fail with it."""
    stdin, output = os.memfd_create("stdin"), os.memfd_create("output")
    os.pwrite(stdin, "\n".join([*lines, ""]).encode(), 0)
    actions = [(os.POSIX_SPAWN_DUP2, *pair) for pair in ((stdin, 0), (output, 1), (output, 2))]
    words = [
        *(["nsenter", f"--net={NETNS}"] if pod else []),
        "ip",
        *([f"-{family}"] if family else []),
        "-batch",
        "-",
    ]
    child = os.posix_spawnp(words[0], words, os.environ, file_actions=actions)
    status = os.waitpid(child, 0)[1]
    text = os.pread(output, 1 << 20, 0).decode().strip()
    if status:
        fail(f"{lines}: {text}")
    return text


def allocate() -> int:
    """Take a free address, and remember it for DEL; return its last number."""
    os.makedirs(STORE, exist_ok=True)
    for last in range(2, 255):
        try:
            os.close(os.open(f"{STORE}/10.{NUMBER}.0.{last}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        with open(f"{STORE}/of-{OWNER}", "w", encoding="ascii") as file:
            file.write(str(last))
        return last
    fail("no address is free")


def make_link() -> str:
    """Make the pod's interface and return the name of its other end on the node."""
    prefix = f"p{NUMBER}{CONTAINER}."
    if CONF.get("oneLink"):
        names = [line.split(": ")[1] for line in ip("link show", pod=False).splitlines()[::2]]
        old = [name.partition("@")[0] for name in names if name.startswith(prefix)]
        ip(*(f"link delete {name}" for name in old), pod=False)
    host = f"{prefix}{INTERFACE}"[:15]
    ip(f"link add {INTERFACE} type veth peer name {host} netns {os.getpid()}")
    ip(f"link set {host} up", pod=False)
    return host


def default_routes() -> list[str]:
    """Return the lines of ip(8) that bring the default routes."""
    lines = []
    for family in FAMILIES:
        how, gateway, everywhere = CONF["default"], GATEWAYS[family], EVERYWHERE[family]
        if how == "fails":
            gateway = {4: f"169.254.{NUMBER}.1", 6: f"fe80::{NUMBER}"}[family]
            lines.append(f"route add {gateway} dev {INTERFACE} scope link")
        verb = {"appends": "append", "fails": "add", "skips": "append", "replaces": "replace"}
        if how == "none" or (how == "skips" and ip("route show default", family=family)):
            continue
        lines.append(f"route {verb[how]} {everywhere} via {gateway} dev {INTERFACE}")
    return lines


def advertise(host: str) -> None:
    source = f"fe80::{NUMBER}:1"
    ip(f"address add {source}/64 dev {host} nodad", pod=False)
    end = time.monotonic() + 20
    while f"dev {INTERFACE} proto ra" not in ip("route show default", family=6):
        words = [CONF["router"], host, source, f"fd0a:{NUMBER}::"]
        os.waitpid(os.posix_spawn(words[0], words, os.environ), 0)
        time.sleep(0.05)
        if time.monotonic() > end:
            fail("the pod's kernel accepted no router advertisement")


def add() -> None:
    needs = CONF.get("needs")
    if needs and not os.path.exists(needs):
        fail(f"open {needs}: no such file or directory")
    last = allocate()
    host = make_link()
    addresses = {4: f"10.{NUMBER}.0.{last}/24", 6: f"fd00:{NUMBER}::{last}/64"}
    ip(
        f"link set {INTERFACE} up",
        *(f"address add {addresses[each]} dev {INTERFACE}{USABLE[each]}" for each in FAMILIES),
        *default_routes(),
    )
    if CONF.get("router"):
        advertise(host)

    result = {
        "cniVersion": CONF["cniVersion"],
        "interfaces": [{"name": host}, {"name": INTERFACE, "sandbox": NETNS}],
        "ips": [{"address": addresses[each], "interface": 1} for each in FAMILIES],
    }
    if CONF["default"] == "appends":
        result["routes"] = [{"dst": EVERYWHERE[each], "gw": GATEWAYS[each]} for each in FAMILIES]
    blank = "\n\n" if CONF.get("noise") else ""
    print(blank + json.dumps(result) + blank)


def delete() -> None:
    if NETNS and os.path.exists(NETNS) and f": {INTERFACE}@" in ip("link show"):
        ip(f"link delete {INTERFACE}")
    remembered = f"{STORE}/of-{OWNER}"
    if os.path.exists(remembered):
        with open(remembered, encoding="ascii") as file:
            os.remove(f"{STORE}/10.{NUMBER}.0.{file.read()}")
        os.remove(remembered)


if CONF.get("noise"):
    os.write(2, f"{CONF['noise']}\n".encode())
command = os.environ["CNI_COMMAND"]
if command == "ADD":
    add()
elif command == "DEL":
    delete()
