// A SecT controller for Node without any package, written from docs/protocol.md alone: status and switching.
//
// It reads one JSON object and then one word a line from its standard input, and answers each with one line
// of JSON. No secret is an argument. The object: host, port, thing_id, cid, topic, user, pass, and master, the
// master key of epoch 0. The words: status, on, off.

import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import readline from 'node:readline';
import tls from 'node:tls';

// Section 2: HKDF-Expand with SHA-512, and strict base64url.

const hmac = (key, ...parts) => parts.reduce((mac, part) => mac.update(part), createHmac('sha512', key)).digest();

function expand(prk, label, ctx, length) {
  const info = Buffer.concat([Buffer.from(`SecT-v1/${label}\0`), ctx]);
  let block = Buffer.alloc(0);
  let out = Buffer.alloc(0);
  for (let i = 1; out.length < length; i += 1) {
    block = hmac(prk, block, info, Buffer.of(i));
    out = Buffer.concat([out, block]);
  }
  return out.subarray(0, length);
}

const b64u = (raw) => raw.toString('base64url');

function unb64u(text, length) {
  const raw = Buffer.from(text, 'base64url');
  if (b64u(raw) !== text || (length !== undefined && raw.length !== length)) throw new Error('not base64url');
  return raw;
}

// Section 4: the envelope.

const header = (kid) => b64u(Buffer.from(`{"alg":"dir","enc":"A256CBC-HS512","kid":"${kid}"}`));

function tagOf(key, aad, iv, ct) {
  const bits = Buffer.alloc(8);
  bits.writeBigUInt64BE(BigInt(8 * aad.length));
  return hmac(key.subarray(0, 32), aad, iv, ct, bits).subarray(0, 32);
}

function seal({ key, kid }, message) {
  const plain = Buffer.from(JSON.stringify(message));
  const size = [191, 447, 959, 1983].find((n) => plain.length <= n);
  const iv = randomBytes(16);
  const cipher = createCipheriv('aes-256-cbc', key.subarray(32), iv);
  const ct = Buffer.concat([cipher.update(plain), cipher.update(Buffer.alloc(size - plain.length, ' ')), cipher.final()]);
  const aad = header(kid);
  return [aad, '', b64u(iv), b64u(ct), b64u(tagOf(key, aad, iv, ct))].join('.');
}

function open({ key, kid }, jwe) {
  const parts = jwe.split('.');
  if (jwe.length > 2789 || parts.length !== 5 || parts[0] !== header(kid) || parts[1] !== '') throw new Error('not for this key');
  const [iv, ct, tag] = [unb64u(parts[2], 16), unb64u(parts[3]), unb64u(parts[4], 32)];
  if (!timingSafeEqual(tag, tagOf(key, parts[0], iv, ct))) throw new Error('not authentic');
  const decipher = createDecipheriv('aes-256-cbc', key.subarray(32), iv);
  return JSON.parse(Buffer.concat([decipher.update(ct), decipher.final()]).toString());
}

const requestId = (jwe) => b64u(createHash('sha256').update(jwe).digest().subarray(0, 16));

// Section 5: the keys of a controller.

function epochKeys({ master, thing_id: thing, cid }, epoch) {
  const number = Buffer.alloc(4);
  number.writeUInt32BE(epoch);
  const ctx = Buffer.concat([Buffer.from(thing + cid), number]);
  const derive = (label, length) => expand(unb64u(master, 64), label, ctx, length);
  return {
    c2t: { key: derive('c2t', 64), kid: b64u(derive('kid-c2t', 8)) },
    t2c: { key: derive('t2c', 64), kid: b64u(derive('kid-t2c', 8)) },
    psk: derive('tls-psk', 32),
    identity: b64u(derive('psk-id', 16)),
  };
}

// Section 3: TLS 1.3 with the PSK, and as much of MQTT 3.1.1 as a controller needs.

const text = (string) => {
  const raw = Buffer.from(string);
  return Buffer.concat([Buffer.of(raw.length >> 8, raw.length & 255), raw]);
};

function packet(first, body) {
  const length = [];
  for (let size = body.length; ;) {
    const digit = size % 128;
    size = Math.floor(size / 128);
    length.push(size ? digit | 128 : digit);
    if (!size) break;
  }
  return Buffer.concat([Buffer.of(first, ...length), body]);
}

class Mqtt {
  constructor(record, keys, hear) {
    this.buffer = Buffer.alloc(0);
    this.waiting = [];
    this.hear = hear;
    this.socket = tls.connect({
      host: record.host,
      port: record.port,
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      ciphers: 'TLS_AES_128_GCM_SHA256',
      pskCallback: () => ({ identity: keys.identity, psk: keys.psk }),
      checkServerIdentity: () => undefined,
    });
    this.socket.on('data', (more) => this.read(more));
    this.socket.on('error', (error) => fail(error.message));
    this.socket.on('close', () => fail('the session has ended'));
  }

  async login(record) {
    await new Promise((resolve) => this.socket.once('secureConnect', resolve));
    if (Object.keys(this.socket.getPeerCertificate()).length) fail('a certificate: this is somebody else');
    const fields = ['MQTT', '', record.user, record.pass].map(text);
    const connect = Buffer.concat([fields[0], Buffer.of(4, 0xc2, 0, 60), ...fields.slice(1)]);
    const acknowledged = await this.exchange(packet(0x10, connect), 0x20);
    if (!acknowledged.equals(Buffer.of(0, 0))) fail('login refused');
    const subscribe = Buffer.concat([Buffer.of(0, 1), text(`s/${record.topic}/t`), Buffer.of(0)]);
    const subscribed = await this.exchange(packet(0x82, subscribe), 0x90);
    if (!subscribed.equals(Buffer.of(0, 1, 0))) fail('subscription refused');
  }

  exchange(bytes, kind) {
    this.socket.write(bytes);
    return new Promise((resolve) => this.waiting.push({ kind, resolve }));
  }

  publish(topic, payload) {
    this.socket.write(packet(0x30, Buffer.concat([text(topic), Buffer.from(payload)])));
  }

  read(more) {
    this.buffer = Buffer.concat([this.buffer, more]);
    for (;;) {
      let [size, position] = [0, 1];
      while (this.buffer[position] >= 128) {
        size += (this.buffer[position] & 127) * 128 ** (position - 1);
        position += 1;
      }
      if (position >= this.buffer.length) return;
      size += this.buffer[position] * 128 ** (position - 1);
      const end = position + 1 + size;
      if (this.buffer.length < end) return;
      this.take(this.buffer[0], this.buffer.subarray(position + 1, end));
      this.buffer = this.buffer.subarray(end);
    }
  }

  take(first, body) {
    if (first >> 4 === 3) {
      const end = 2 + body.readUInt16BE(0);
      this.hear(body.subarray(2, end).toString(), body.subarray(end).toString());
    } else {
      const index = this.waiting.findIndex(({ kind }) => kind === first);
      if (index >= 0) this.waiting.splice(index, 1)[0].resolve(Buffer.from(body));
    }
  }
}

// Section 6: status, commands, answers.

// Node has no CLOCK_BOOTTIME. This clock stops while the machine sleeps; for seconds that is good enough.
const clock = () => Number(process.hrtime.bigint() / 1000n);

class Controller {
  constructor(record) {
    this.record = record;
    this.keys = epochKeys(record, 0);
    this.outstanding = new Map();
    this.mqtt = new Mqtt(record, this.keys, (topic, payload) => this.hear(topic, payload));
  }

  hear(topic, payload) {
    if (topic !== `s/${this.record.topic}/t`) return;
    let message;
    try {
      message = open(this.keys.t2c, payload);
    } catch {
      return;
    }
    const answered = message.t === 'rsp' && this.outstanding.get(message.re);
    if (!answered) return;
    this.outstanding.delete(message.re);
    if (message.boot !== this.boot) this.lastSent = -1;
    this.boot = message.boot;
    this.offset = message.ts - clock();
    answered(message);
  }

  async ask(message) {
    const request = seal(this.keys.c2t, message);
    const answer = new Promise((resolve) => this.outstanding.set(requestId(request), resolve));
    const send = () => this.mqtt.publish(`s/${this.record.topic}/c`, request);
    send();
    let sent = 1;
    const again = setInterval(() => (sent++ < 10 ? send() : fail('the outcome is unknown')), 1000);
    return answer.finally(() => clearInterval(again));
  }

  status() {
    return this.ask({ v: 1, t: 'status', id: b64u(randomBytes(16)) });
  }

  async switch(on) {
    if (this.boot === undefined) await this.status();
    this.lastSent = Math.max(clock() + this.offset, this.lastSent + 1);
    return this.ask({ v: 1, t: 'cmd', boot: this.boot, ts: this.lastSent, op: 'outlet.set', a: { on } });
  }
}

function fail(why) {
  process.stderr.write(`${why}\n`);
  process.exit(1);
}

let controller;
for await (const line of readline.createInterface({ input: process.stdin })) {
  if (!controller) {
    const record = JSON.parse(line);
    controller = new Controller(record);
    await controller.mqtt.login(record);
  } else {
    const { rc, st } = await (line === 'status' ? controller.status() : controller.switch({ on: true, off: false }[line]));
    process.stdout.write(`${JSON.stringify({ rc, on: st.on, by: st.by })}\n`);
  }
}
process.exit(0);
