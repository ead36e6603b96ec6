// The server of the Socket.IO tutorial, to be measured: node server.mjs DATABASE [--as-in-tutorial]
//
// A message is inserted, sent to everybody, and then acknowledged; a client that returns gets the
// rows after its offset, unless connection state recovery has done that already. An acknowledgement
// promises what it promises in chatlab: the row is on the disk, by WAL and synchronous=FULL. The
// tutorial itself sets neither, and has SQLite's rollback journal.

import { createServer } from "node:http";
import { Server } from "socket.io";
import { open } from "sqlite";
import sqlite3 from "sqlite3";

const [, , filename, asInTutorial] = process.argv;
const db = await open({ filename, driver: sqlite3.Database });
if (!asInTutorial) await db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
await db.exec(`
  CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client_offset TEXT UNIQUE,
    content TEXT
  )`);

const http = createServer();
const io = new Server(http, { connectionStateRecovery: {} });

io.on("connection", async (socket) => {
  socket.on("chat message", async (text, clientOffset, acknowledge) => {
    let stored;
    try {
      stored = await db.run(
        "INSERT INTO messages (content, client_offset) VALUES (?, ?)",
        text,
        clientOffset,
      );
    } catch (error) {
      if (error.errno === 19) acknowledge(); // the key is there already: so is the message
      return;
    }
    io.emit("chat message", text, stored.lastID);
    acknowledge();
  });

  if (!socket.recovered) {
    await db.each(
      "SELECT id, content FROM messages WHERE id > ?",
      [socket.handshake.auth.serverOffset || 0],
      (_error, row) => socket.emit("chat message", row.content, row.id),
    );
  }
});

http.listen(0, "127.0.0.1", () => console.log(`:${http.address().port}`));
