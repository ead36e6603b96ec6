// The chat page. It keeps the offset of the last message that it has shown, and says it whenever
// it connects; the server answers with the messages after it.

const CDN = "https://cdn.socket.io/4.8.4/socket.io.min.js";
const INTEGRITY = "sha384-fBrXvbDtHoeKWJ/hcA6M+YGueiDW+h45I7V6F2kD1S8bOkrF9rZYPLVkCR6BLR/1";
const ANSWER_WITHIN = 10_000; // milliseconds

const element = (id) => document.getElementById(id);
const [state, offset, line, reload, messages, form, problem, text] =
  ["state", "offset", "line", "reload", "messages", "form", "problem", "text"].map(element);

function loadScript(src, attributes = {}) {
  return new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src, ...attributes });
    script.onload = resolve;
    script.onerror = () => reject(new Error(`cannot load ${src}`));
    document.head.append(script);
  });
}

// The client that was fetched when the package was installed, or else the same file from its CDN.
async function loadClient() {
  try {
    await loadScript("page/vendor/socket.io.min.js");
  } catch {
    await loadScript(CDN, { integrity: INTEGRITY, crossOrigin: "anonymous" });
  }
}

function show(content, position) {
  const atEnd = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 40;
  const item = document.createElement("li");
  item.textContent = content; // never as HTML: it comes from somebody else
  item.dir = "auto";
  item.dataset.offset = position;
  messages.append(item);
  if (atEnd) item.scrollIntoView({ block: "end" });
}

function start() {
  const socket = io({
    path: new URL("socket.io", document.baseURI).pathname, // also right behind a proxy
    auth: { serverOffset: 0 },
  });
  let held = false; // whether the line is down because somebody pressed the button

  socket.on("chat message", (content, position) => {
    show(content, position);
    if (position !== undefined) {
      socket.auth.serverOffset = position;
      offset.value = position;
    }
  });

  const showState = () => {
    state.textContent = socket.connected ? "connected" : held ? "line dropped" : "connecting …";
    state.dataset.connected = socket.connected;
    line.textContent = held ? "Reconnect" : "Drop the line";
  };
  socket.on("connect", () => {
    problem.textContent = "";
    showState();
  });
  socket.on("disconnect", showState);
  socket.on("connect_error", (error) => {
    if (error.data) problem.textContent = `The server refuses: ${error.message}`;
    showState();
  });

  line.onclick = () => {
    held = !held;
    socket.io.reconnection(!held);
    if (!held) socket.connect();
    else if (socket.connected) socket.io.engine.close();
    else socket.disconnect(); // and stop trying
    showState();
  };

  form.onsubmit = (event) => {
    event.preventDefault();
    const content = text.value;
    if (!socket.connected) {
      problem.textContent = "Not sent: there is no connection. Your text stays here.";
      return;
    }
    problem.textContent = "";
    text.value = "";
    socket.timeout(ANSWER_WITHIN).emit("chat message", content, (error, answer) => {
      if (error) problem.textContent = `No answer: the server may not have got “${content}”.`;
      else if (answer?.error) problem.textContent = `Not sent: ${answer.message}.`;
      else return;
      text.value ||= content;
    });
  };
}

reload.onclick = () => location.reload();
try {
  await loadClient();
  start();
} catch (error) {
  state.textContent = "not connected";
  problem.textContent = `The page cannot work: the Socket.IO client did not load (${error.message}).`;
}
