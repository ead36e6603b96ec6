// One official client that tells what it gets, and does what it is told: {"do"} a line comes in,
// {"event", ...} a line goes out.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [, , url, ...transports] = process.argv;
const say = (event, more) => console.log(JSON.stringify({ event, ...more }));
const retries = { reconnectionDelay: 20, reconnectionDelayMax: 100, randomizationFactor: 0 };
let serverOffset = 0;
const auth = (answer) => answer({ serverOffset });
const socket = io(url, { ...retries, transports, auth });

const connected = () => say("connect", { sid: socket.id, recovered: socket.recovered });
socket.on("connect", () => {
  const { engine } = socket.io;
  if (transports.length === 1 || engine.transport.name === transports.at(-1)) connected();
  else engine.once("upgrade", connected);
});
socket.on("disconnect", (reason) => say("disconnect", { reason }));
socket.on("tick", (value) => say("tick", { value }));
socket.on("chat message", (value, offset) => {
  serverOffset = offset;
  say("tick", { value });
});

const commands = {
  drop: () => socket.io.engine.close(),
  leave: () => socket.disconnect(),
  come: () => socket.connect(),
  join: () => socket.emit("join", "kitchen"),
};

for await (const line of createInterface({ input: process.stdin })) commands[JSON.parse(line).do]();
process.exit();
