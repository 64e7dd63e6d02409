"""A SecT controller in Python, written from docs/protocol.md alone: pairing, status, switching.

It reads one JSON object of settings and then one word a line from its standard input, and answers each
with one line of JSON. No secret is an argument. The words: pair, status, on, off. What it keeps of the
thing goes to a file of mode 0600 before the thing is told to go ahead.

Keys and envelope (protocol sections 2, 4, 5) are the listing of section 12 of that document, executed as
it stands there. TLS is Python's own where it knows pre-shared keys (3.13), else `openssl s_client`.
"""

import base64
import hashlib
import json
import os
import re
import select
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils, x25519

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/protocol.md")


def listing_of_section_12():
    with open(DOCUMENT, encoding="utf-8") as document:
        section = document.read().split("\n## 12. ", 1)[1]
    return re.search(r"```python\n(.*?)```", section, re.S).group(1)


# Gives b64u, unb64u, extract, expand, seal, open_sealed, request_id.
exec(compile(listing_of_section_12(), "docs/protocol.md, section 12", "exec"))


# Strict JSON, section 2.3.

def strict(raw, kind, members):
    """The message of type `kind`: exactly `members`, each of its type; "name?" may be missing."""

    def pairs(found):
        if len(dict(found)) != len(found) or len(found) > 16:
            raise ValueError("a key twice, or too many")
        return dict(found)

    def refuse(text):
        raise ValueError(f"{text} is no integer")

    def integer(text):
        number = int(text)
        if text.startswith("-") or number > 2**53 - 1:
            refuse(text)
        return number

    def depth(value):
        if value is None:
            raise ValueError("null")
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inside is None else 1 + max(map(depth, inside), default=0)

    text = raw.decode("utf-8")
    body = text.rstrip(" ")
    if not body.startswith("{") or not body.endswith("}"):
        raise ValueError("no object")
    message = json.loads(body, object_pairs_hook=pairs, parse_float=refuse, parse_constant=refuse, parse_int=integer)
    if depth(message) > 4 or re.search("[\ud800-\udfff]", json.dumps(message, ensure_ascii=False)):
        raise ValueError("too deep, or half a character")
    if message.get("v") != 1 or type(message["v"]) is not int or message.get("t") != kind:
        raise ValueError(f"no {kind}")
    exactly(message, {"v": int, "t": str, **members})
    return message


def exactly(found, members):
    known = {name.rstrip("?"): of for name, of in members.items()}
    needed = {name for name in members if not name.endswith("?")}
    if not needed <= set(found) <= set(known):
        raise ValueError("missing or unknown members")
    for name, value in found.items():
        if type(value) is not known[name]:
            raise ValueError(f"{name} is of the wrong type")


def binary(text, length):
    raw = unb64u(text)
    if len(raw) != length:
        raise ValueError("wrong length")
    return raw


def compact(kind, **members):
    return json.dumps({"v": 1, "t": kind, **members}, separators=(",", ":"), ensure_ascii=False).encode()


# TLS 1.3 with an external PSK, section 3.2.

class PythonTls:
    """Python 3.13 and newer."""

    name = "ssl"

    def __init__(self, host, port, identity, key):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_psk_client_callback(lambda hint: (identity, key))
        self.socket = context.wrap_socket(socket.create_connection((host, port), timeout=10))
        if self.socket.getpeercert(True) is not None:
            raise ConnectionError("a certificate: this is somebody else")

    def send(self, raw):
        self.socket.sendall(raw)

    def receive(self, seconds):
        self.socket.settimeout(max(seconds, 0.001))
        try:
            return self.socket.recv(65536)
        except TimeoutError:
            return None

    def close(self):
        self.socket.close()


class OpensslTls:
    """Every Python: the openssl program as a pipe.

    `-psk` would show the key on a command line; `-psk_session` takes it from a file, as a TLS session of
    which nothing but version, suite and key matter.
    """

    name = "openssl s_client"

    def __init__(self, host, port, identity, key):
        def element(tag, content):
            return bytes([tag, len(content)]) + content

        session = element(0x30, element(2, b"\x01") + element(2, b"\x03\x04") + element(4, b"\x13\x01")
                          + element(4, b"") + element(4, key))
        self.folder = tempfile.mkdtemp()
        path = os.path.join(self.folder, "session")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write("-----BEGIN SSL SESSION PARAMETERS-----\n" + base64.encodebytes(session).decode()
                       + "-----END SSL SESSION PARAMETERS-----\n")
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-quiet", "-connect", f"{host}:{port}", "-tls1_3", "-groups", "X25519",
             "-ciphersuites", "TLS_AES_128_GCM_SHA256", "-psk_identity", identity, "-psk_session", path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)

    def send(self, raw):
        self.process.stdin.write(raw)

    def receive(self, seconds):
        if not select.select([self.process.stdout], [], [], max(seconds, 0))[0]:
            return None
        return os.read(self.process.stdout.fileno(), 65536)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        shutil.rmtree(self.folder)


Tls = PythonTls if getattr(ssl, "HAS_PSK", False) else OpensslTls


# MQTT 3.1.1, section 3.3: as much of it as a controller needs.

class Mqtt:
    def __init__(self, host, port, identity, key, login, subscribe, qos):
        self.tls, self.buffer, self.qos, self.packet = Tls(host, port, identity, key), b"", qos, 1
        try:
            flags, fields = 0x02, self.text("")
            if login:
                flags, fields = 0xc2, fields + self.text(login[0]) + self.text(login[1])
            self.write(0x10, self.text("MQTT") + bytes([4, flags]) + struct.pack(">H", 60) + fields)
            if self.wait(0x20) != b"\0\0":
                raise ConnectionError("refused")
            self.write(0x82, struct.pack(">H", 1) + self.text(subscribe) + bytes([qos]))
            if self.wait(0x90) != struct.pack(">H", 1) + bytes([qos]):
                raise ConnectionError("not subscribed")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def text(text):
        return struct.pack(">H", len(text.encode())) + text.encode()

    def write(self, first, body):
        length, size = b"", len(body)
        while True:
            size, digit = divmod(size, 128)
            length += bytes([digit | (0x80 if size else 0)])
            if not size:
                break
        self.tls.send(bytes([first]) + length + body)

    def read(self, seconds):
        """The next packet as (first byte, body); None when the time is up."""
        until = time.monotonic() + seconds
        while True:
            size = position = 0
            for position, digit in enumerate(self.buffer[1:5]):
                size |= (digit & 127) << (7 * position)
                if digit < 128:
                    end = 2 + position + size
                    if len(self.buffer) >= end:
                        packet, self.buffer = self.buffer[:end], self.buffer[end:]
                        return packet[0], packet[2 + position:]
                    break
            more = self.tls.receive(until - time.monotonic())
            if more is None:
                return None
            if not more:
                raise ConnectionError("the thing has ended the session")
            self.buffer += more

    def wait(self, kind):
        packet = self.read(10)
        if packet is None or packet[0] != kind:
            raise ConnectionError(f"no packet {kind:#x}")
        return packet[1]

    def publish(self, topic, payload):
        body = self.text(topic)
        if self.qos:
            self.packet += 1
            body += struct.pack(">H", self.packet)
        self.write(0x30 | self.qos << 1, body + payload)

    def receive(self, topic, seconds):
        """The next payload on `topic`; None when the time is up."""
        until = time.monotonic() + seconds
        while (packet := self.read(until - time.monotonic())) is not None:
            first, body = packet
            if first >> 4 != 3:
                continue
            size = 2 + struct.unpack(">H", body[:2])[0]
            name, body = body[2:size].decode(), body[size:]
            if first & 0x06:
                self.write(0x40, body[:2])
                body = body[2:]
            if name == topic:
                return body
        return None

    def close(self):
        self.tls.close()


# Pairing, section 7.

class Refused(Exception):
    """A check of section 7.4 has failed: the run is over, and nothing is kept."""


def require(held, what):
    if not held:
        raise Refused(what)


P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


def spki_of(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def signature(key, message):
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def check_certificates(crt, ca, ca_hash, own_spki):
    crt, ca = x509.load_der_x509_certificate(crt), x509.load_der_x509_certificate(ca)
    require(hashlib.sha256(spki_of(ca.public_key())).digest() == ca_hash, "another CA than promised")
    require(spki_of(ca.public_key()).startswith(P256 + b"\x04"), "the CA's key is not on P-256")
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    require(basic.critical and basic.value.ca, "the CA is none")
    for certificate in (crt, ca):
        require(certificate.version == x509.Version.v3, "not X.509 v3")
        require(certificate.signature_algorithm_oid == x509.SignatureAlgorithmOID.ECDSA_WITH_SHA256, "not ECDSA")
        ca.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    require(spki_of(crt.public_key()) == own_spki, "the certificate is for another key")


def epoch_keys(master, thing_id, cid, epoch):
    ctx = thing_id.encode() + cid.encode() + struct.pack(">I", epoch)
    return {
        "c2t": expand(master, "c2t", ctx, 64), "t2c": expand(master, "t2c", ctx, 64),
        "kid_c2t": b64u(expand(master, "kid-c2t", ctx, 8)), "kid_t2c": b64u(expand(master, "kid-t2c", ctx, 8)),
        "psk": expand(master, "tls-psk", ctx, 32), "psk_id": b64u(expand(master, "psk-id", ctx, 16)),
    }


def read_passcode(typed):
    code = typed.replace(" ", "").replace("-", "").upper().replace("O", "0").replace("I", "1").replace("L", "1")
    if not re.fullmatch("[0123456789ABCDEFGHJKMNPQRSTVWXYZ]{16}", code):
        raise Refused("the passcode has 16 characters")
    return code.encode()


def wait_for_server(host, port):
    """The display may be a little ahead of the server, section 7.1."""
    for _ in range(50):
        try:
            return socket.create_connection((host, port), timeout=5).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise ConnectionError("no thing at this address")


def pair(settings):
    code = read_passcode(settings["passcode"])
    psk = expand(extract(b"SecT-v1/pair-psk", code), "tls-psk", b"", 32)
    wait_for_server(settings["ap_host"], settings["port"])
    mqtt = Mqtt(settings["ap_host"], settings["port"], "pair", psk, None, "sect/pair/t", 1)
    try:
        return run(mqtt, code, settings)
    finally:
        mqtt.close()


def run(mqtt, code, settings):
    def exchange(payload, take):
        """Publishes the same bytes until `take` is satisfied with what comes."""
        for _ in range(6):
            mqtt.publish("sect/pair/c", payload)
            until = time.monotonic() + 2
            while (heard := mqtt.receive("sect/pair/t", until - time.monotonic())) is not None:
                if (taken := take(heard)) is not None:
                    return taken
        raise Refused("the thing does not answer")

    own = ec.generate_private_key(ec.SECP256R1())
    ephemeral = x25519.X25519PrivateKey.generate()
    x = ephemeral.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    m1 = compact("pair.hello", x=b64u(x), nc=b64u(os.urandom(16)))
    m2 = exchange(m1, lambda heard: heard)
    accept = strict(m2, "pair.accept", {"id": str, "y": str, "nt": str, "ca": str})
    ca_hash, y = binary(accept["ca"], 32), binary(accept["y"], 32)
    binary(accept["nt"], 16)
    require(accept["id"] == ca_hash[:8].hex(), "the id is not that of the CA")

    th = hashlib.sha512(b"SecT-v1/pair\0" + struct.pack(">I", len(m1)) + m1 + struct.pack(">I", len(m2)) + m2).digest()
    # It raises when the result is all zero.
    dh = ephemeral.exchange(x25519.X25519PublicKey.from_public_bytes(y))
    prk = extract(hashlib.sha512(b"SecT-v1/code\0" + code).digest(), dh)
    k_pc, kid_pc = expand(prk, "pair-c2t", th, 64), b64u(expand(prk, "pair-kid-c2t", th, 8))
    k_pt, kid_pt = expand(prk, "pair-t2c", th, 64), b64u(expand(prk, "pair-kid-t2c", th, 8))
    master = expand(prk, "master", th, 64)

    taken = {}
    forms = {
        "bind.topic": {"cid": str, "topic": str},
        "bind.cred": {"user": str, "pass": str, "crt": str, "ca": str},
        "bind.psk": {"id": str, "clouds": list},
        "bind.done": {},
    }
    numbers = {"bind.topic": 0, "bind.cred": 1, "bind.psk": 2, "bind.done": 3}

    def wanted(*kinds):
        def take(heard):
            try:
                plain = open_sealed(k_pt, kid_pt, heard.decode("ascii"))
            except ValueError:
                return None
            for kind in kinds:
                try:
                    message = strict(plain, kind, {"n": int, **forms[kind]})
                except ValueError:
                    continue
                require(message["n"] == numbers[kind], "another number")
                taken[kind] = message
            return True if all(kind in taken for kind in kinds) else None

        return take

    spki = spki_of(own.public_key())
    m3 = compact("pair.confirm", n=0, spki=b64u(spki), pop=b64u(signature(own, b"SecT-v1/pop\0" + th)),
                 name=settings["name"])
    exchange(seal(k_pc, kid_pc, m3).encode(), wanted("bind.topic"))
    m4 = taken["bind.topic"]
    binary(m4["cid"], 8)
    require(re.fullmatch("[0-9A-Za-z]{25}", m4["topic"]), "no topic")

    m5 = compact("bind.wifi", n=1, ssid=b64u(settings["home_ssid"].encode()), key=settings["home_key"])
    exchange(seal(k_pc, kid_pc, m5).encode(), wanted("bind.cred", "bind.psk"))
    m6, m7 = taken["bind.cred"], taken["bind.psk"]
    require(re.fullmatch("[a-z0-9]{16}", m6["user"]) and re.fullmatch("[0-9A-Za-z]{25}", m6["pass"]), "no credentials")
    check_certificates(unb64u(m6["crt"]), unb64u(m6["ca"]), ca_hash, spki)
    require(m7["id"] == epoch_keys(master, accept["id"], m4["cid"], 0)["psk_id"], "another PSK identity")
    require(len(m7["clouds"]) <= 4, "too many cloud servers")
    for cloud in m7["clouds"]:
        exactly(cloud, {"host": str, "port": int, "pin": str})
        binary(cloud["pin"], 32)

    record = {
        "thing_id": accept["id"], "ca": accept["ca"], "cid": m4["cid"], "topic": m4["topic"], "user": m6["user"],
        "pass": m6["pass"], "master": b64u(master), "crt": m6["crt"], "clouds": m7["clouds"],
        "name": settings["name"], "confirmed": False,
        "key": b64u(own.private_numbers().private_value.to_bytes(32, "big")),
    }
    persist(settings["record"], record)
    exchange(seal(k_pc, kid_pc, compact("bind.commit", n=2)).encode(), wanted("bind.done"))
    record["confirmed"] = True
    persist(settings["record"], record)
    return record


def persist(path, record):
    part = path + ".part"
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


# Steady state, section 6.

class Controller:
    def __init__(self, record, host, port):
        self.record, self.keys = record, epoch_keys(unb64u(record["master"]), record["thing_id"], record["cid"], 0)
        self.boot = self.offset = self.last_sent = None
        self.c2t, self.t2c = (f"s/{record['topic']}/{way}" for way in "ct")
        login = (record["user"], record["pass"])
        self.mqtt = Mqtt(host, port, self.keys["psk_id"], self.keys["psk"], login, self.t2c, 0)

    @staticmethod
    def clock():
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

    def ask(self, message):
        """The same bytes each second until they are answered, ten times."""
        request = seal(self.keys["c2t"], self.keys["kid_c2t"], message)
        for _ in range(10):
            self.mqtt.publish(self.c2t, request.encode())
            until = time.monotonic() + 1
            while (heard := self.mqtt.receive(self.t2c, until - time.monotonic())) is not None:
                now = self.clock()
                try:
                    plain = open_sealed(self.keys["t2c"], self.keys["kid_t2c"], heard.decode("ascii"))
                    answer = strict(plain, "rsp", {"re": str, "rc": int, "boot": str, "ts": int, "st": dict, "r?": dict})
                    exactly(answer["st"], {"on": bool, "by": str, "who?": str, "since": int, "name": str})
                except ValueError:
                    continue
                if answer["re"] != request_id(request):
                    continue
                if answer["boot"] != self.boot:
                    self.boot, self.last_sent = answer["boot"], -1
                self.offset = answer["ts"] - now
                return answer
        raise TimeoutError("the outcome is unknown")

    def status(self):
        return self.ask(compact("status", id=b64u(os.urandom(16))))

    def switch(self, on):
        if self.boot is None:
            self.status()
        self.last_sent = max(self.clock() + self.offset, self.last_sent + 1)
        return self.ask(compact("cmd", boot=self.boot, ts=self.last_sent, op="outlet.set", a={"on": on}))


def main():
    settings = json.loads(sys.stdin.readline())
    controller = None
    for line in sys.stdin:
        word = line.strip()
        if word == "pair":
            record = pair(settings)
            said = {"confirmed": record["confirmed"], "thing_id": record["thing_id"], "tls": Tls.name}
        else:
            if controller is None:
                with open(settings["record"], encoding="ascii") as file:
                    controller = Controller(json.load(file), settings["home_host"], settings["port"])
            answer = controller.status() if word == "status" else controller.switch({"on": True, "off": False}[word])
            said = {"rc": answer["rc"], "on": answer["st"]["on"], "by": answer["st"]["by"]}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
