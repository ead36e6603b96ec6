// The tutorial's server as one of several, to be measured: node cluster.mjs postgresql://...
//
// The messages are in PostgreSQL, and the official adapter for it carries what one server sends to
// all clients to the other servers. As in server.mjs, a message is inserted, sent to everybody, and
// then acknowledged. Its offset comes from a sequence.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/postgres-adapter";
import pg from "pg";
import { Server } from "socket.io";

const pool = new pg.Pool({ connectionString: process.argv[2] });
const db = await pool.connect();
await db.query("SELECT pg_advisory_lock(1)"); // servers that start at once make the tables in turn
await db.query(`
  CREATE TABLE IF NOT EXISTS messages (
    id BIGSERIAL PRIMARY KEY,
    client_offset TEXT UNIQUE,
    content TEXT
  );
  CREATE TABLE IF NOT EXISTS socket_io_attachments (
    id BIGSERIAL UNIQUE,
    created_at TIMESTAMPTZ DEFAULT now(),
    payload BYTEA
  )`);
await db.query("SELECT pg_advisory_unlock(1)");
db.release();

const http = createServer();
const io = new Server(http, { adapter: createAdapter(pool) });

io.on("connection", async (socket) => {
  socket.on("chat message", async (text, clientOffset, acknowledge) => {
    let stored;
    try {
      stored = await pool.query(
        "INSERT INTO messages (content, client_offset) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id",
        [text, clientOffset],
      );
    } catch {
      return; // no answer: the client sends it again
    }
    if (stored.rowCount) io.emit("chat message", text, Number(stored.rows[0].id));
    acknowledge();
  });

  const missed = await pool.query("SELECT id, content FROM messages WHERE id > $1 ORDER BY id", [
    socket.handshake.auth.serverOffset || 0,
  ]);
  for (const row of missed.rows) socket.emit("chat message", row.content, Number(row.id));
});

http.listen(0, "127.0.0.1", () => console.log(`:${http.address().port}`));
