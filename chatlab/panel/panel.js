// The panel. It shows what the server sends, and sends which button is pressed. It does not know
// what the names and buttons mean. It shows everything as text, never as HTML.

const FIRST_PAUSE = 250; // milliseconds between two attempts to connect: doubled each time
const LONGEST_PAUSE = 5_000;

const element = (id) => document.getElementById(id);
const picture = {}; // all parts that the server has sent so far
let socket;
let pause = FIRST_PAUSE;
let reports = []; // reports of the page in the frame that wait for a connection
const MOST_REPORTS = 1000;
let ask = () => {}; // ask the page in the frame for reports

function write(where, words) {
  const text = String(words);
  if (where.textContent !== text) where.textContent = text; // a screen reader says it once
}

function make(tag, role) {
  const made = document.createElement(tag);
  if (role) made.setAttribute("role", role);
  return made;
}

// Give `parent` this many children. It keeps those that it has, so the focus stays where it is.
function fit(parent, count, another) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(another());
  return [...parent.children];
}

// Buttons.

const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);

async function press(pressed, asked) {
  if (pressed.getAttribute("aria-disabled") === "true") return;
  const words = [asked.button, asked.client].filter((word) => word !== undefined).join(" ");
  pressed.setAttribute("aria-disabled", "true"); // `disabled` would take the focus away
  write(element("problem"), "");
  write(element("said"), `${words} …`);
  try {
    const response = await fetch("press", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(asked),
    });
    const answer = await response.json();
    write(element("said"), answer.done ? `${answer.done}: done` : "");
    write(element("problem"), answer.error ?? "");
  } catch {
    write(element("said"), "");
    write(element("problem"), `${words}: no answer. Is the lab closed?`);
  }
  pressed.removeAttribute("aria-disabled");
}

function showButtons(where, names, client) {
  const another = () => Object.assign(make("button"), { type: "button" });
  fit(where, names.length, another).forEach((button, place) => {
    const name = names[place];
    write(button, capital(name));
    if (client !== undefined) button.setAttribute("aria-label", `${capital(name)} ${client}`);
    button.onclick = () => press(button, { button: name, client });
  });
}

// The parts of the picture.

function showFacts(facts) {
  const another = () => {
    const pair = make("div");
    pair.append(make("dt"), make("dd"));
    return pair;
  };
  const names = Object.keys(facts);
  fit(element("facts"), names.length, another).forEach((pair, place) => {
    write(pair.firstElementChild, names[place]);
    write(pair.lastElementChild, facts[names[place]]);
  });
}

function showColumns(columns) {
  const another = () => Object.assign(make("th", "columnheader"), { scope: "col" });
  const titles = ["Name", ...columns, "Buttons"];
  fit(element("columns"), titles.length, another).forEach((th, place) => write(th, titles[place]));
}

const rows = new Map();

function newRow() {
  const row = make("tr", "row");
  row.append(Object.assign(make("th", "rowheader"), { scope: "row", dir: "auto" }));
  return row;
}

function showClient(row, { name, values, healthy, buttons }) {
  row.dataset.healthy = healthy;
  const another = () => make("td", "cell");
  const [head, ...cells] = fit(row, values.length + 2, another);
  const last = cells.pop();
  write(head, name);
  cells.forEach((cell, place) => {
    write(cell, values[place]);
    cell.dataset.column = picture.columns[place];
  });
  if (last.dataset.column) last.replaceChildren(); // there were more columns before
  delete last.dataset.column;
  showButtons(last, buttons, name);
}

function showClients(clients) {
  const names = new Set(clients.map(({ name }) => name));
  for (const [name, row] of rows) {
    if (names.has(name)) continue;
    row.remove();
    rows.delete(name);
  }
  clients.forEach((client, place) => {
    const row = rows.get(client.name) ?? newRow();
    rows.set(client.name, row);
    const body = element("clients");
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
    showClient(row, client);
  });
}

// The drawing grows, and the view follows its end until the reader scrolls up.
const region = document.querySelector("#drawing div");
let following = true;
let before = 0; // the scroll position at the last event
const follow = () => {
  if (following) region.scrollTop = region.scrollHeight;
};
region.onscroll = () => {
  const atEnd = region.scrollHeight - region.scrollTop - region.clientHeight < 40;
  following = atEnd || (following && region.scrollTop >= before); // the drawing may have grown
  before = region.scrollTop;
};
new ResizeObserver(follow).observe(region);

// The drawing is an image, so no script in it can run.
function showDrawing(drawing) {
  const figure = element("drawing");
  figure.hidden = !drawing;
  if (!drawing) return;
  const image = figure.querySelector("img");
  image.onload = follow;
  image.alt = drawing.alt;
  image.src = `data:image/svg+xml,${encodeURIComponent(drawing.svg)}`;
  write(figure.querySelector("figcaption"), drawing.caption);
}

// Behind jupyter-server-proxy, this page is at ".../proxy/PORT/...", and so is the one in the frame.
function reached(source) {
  const [proxy] = location.pathname.match(/^.*\/proxy\/(?=\d+\/)/) ?? [];
  return proxy ? `${proxy}${new URL(source).port}/` : source;
}

function showFrame(frame) {
  const section = element("frame");
  section.hidden = !frame;
  if (!frame) return;
  write(section.querySelector("h2"), frame.title);
  const inner = section.querySelector("iframe");
  inner.title = frame.title;
  const wanted = `${frame.loads} ${frame.source}`;
  if (inner.dataset.shows === wanted) return;
  inner.dataset.shows = wanted;
  inner.src = reached(frame.source);
}

function show(news) {
  Object.assign(picture, news);
  if (news.title) {
    document.title = news.title;
    write(element("title"), news.title);
  }
  if (news.facts) showFacts(news.facts);
  if (news.buttons) showButtons(element("buttons"), news.buttons);
  if (news.columns) showColumns(news.columns);
  if (news.clients || news.columns) showClients(picture.clients);
  if ("note" in news) write(element("note"), news.note);
  if ("drawing" in news) showDrawing(news.drawing);
  if ("frame" in news) showFrame(news.frame);
  if ("error" in news) write(element("problem"), news.error);
}

// The connection. It reconnects by itself as long as this page is open.

function showState(connected) {
  write(element("state"), connected ? "live" : "not connected: is the lab closed?");
  element("state").dataset.connected = connected;
}

function sendReports() {
  if (socket.readyState !== WebSocket.OPEN) return;
  reports.forEach((report) => socket.send(JSON.stringify(report)));
  reports = [];
}

function connect() {
  const address = new URL("state", document.baseURI); // relative, so it works behind a proxy
  address.protocol = address.protocol.replace("http", "ws");
  socket = new WebSocket(address);
  socket.onopen = () => {
    pause = FIRST_PAUSE;
    showState(true);
    ask();
    sendReports();
  };
  socket.onmessage = ({ data }) => show(JSON.parse(data));
  socket.onclose = () => {
    showState(false);
    setTimeout(connect, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  };
}

// The page in the frame sends reports once it knows that a panel is around it.
addEventListener("message", ({ source, origin, data }) => {
  if (source !== document.querySelector("iframe").contentWindow) return;
  if (data === "chatlab: is there a panel?") {
    ask = () => source.postMessage("chatlab: a panel", origin);
    ask();
  }
  if (!data?.chatlab) return;
  reports.push(data.chatlab);
  if (reports.length > MOST_REPORTS) reports.shift();
  sendReports();
});
connect();
