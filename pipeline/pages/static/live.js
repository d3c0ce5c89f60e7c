// What runs at this moment, asked of `force ui` every second. What others wrote is text here, and never markup.
"use strict";

const INTERVAL_MS = 1000;
const PATIENCE_MS = 10000;
const live = document.getElementById("live");
const news = document.getElementById("live-news");
const faults = document.getElementById("live-faults");
const cards = new Map(); // stage that runs → what shows it
let shownVersion = Number(live.dataset.version);
let endedText = "";

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function nameStage(entry) {
  return `${entry.stage} of ${entry.experiment}`;
}

function formatSeconds(seconds) {
  const [hours, minutes, rest] = [seconds / 3600, (seconds / 60) % 60, seconds % 60].map(Math.floor);
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${rest} s` : `${rest} s`;
}

// An element is written only where its text is another: what somebody selected in it stays.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function makeLog(text, isOpen) {
  const details = make("details");
  details.open = isOpen;
  const log = make("pre", "log", text);
  log.tabIndex = 0;
  details.append(make("summary", "", "The end of the log"), log);
  return [details, log];
}

class Card {
  constructor(entry) {
    this.element = make("article", "stage");
    this.element.setAttribute("aria-label", nameStage(entry));
    this.time = make("span", "dim");
    const title = make("h3", "", `${nameStage(entry)} `);
    title.append(this.time);
    this.bar = make("progress");
    this.bar.max = 1;
    this.bar.setAttribute("aria-label", `how far ${nameStage(entry)} is`);
    this.text = make("span");
    const line = make("p", "how-far");
    line.append(this.bar, this.text);
    this.charts = make("div", "charts");
    this.views = new Map(); // curve → what it was drawn of
    const [details, log] = makeLog("", true);
    this.log = log;
    this.element.append(title, line, this.charts, details);
  }

  show(entry) {
    setText(this.time, formatSeconds(entry.seconds));
    setText(this.text, entry.text);
    if (entry.fraction === null) this.bar.removeAttribute("value");
    else this.bar.value = entry.fraction;
    for (const [name, spec] of entry.curves) this.draw(name, spec);
    const isAtEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 5;
    setText(this.log, entry.log);
    if (isAtEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  // New rows go into the chart that is there, unless it has to look otherwise.
  draw(name, spec) {
    const { values } = spec.data;
    const [form, text] = [JSON.stringify({ ...spec, data: null }), JSON.stringify(values)];
    const drawn = this.views.get(name);
    if (drawn && drawn.form === form && drawn.text === text) return;
    if (drawn?.view && drawn.form === form) {
      drawn.text = text;
      drawn.view.data("curve", values).runAsync();
      return;
    }
    const figure = drawn?.figure || this.charts.appendChild(make("figure"));
    figure.setAttribute("aria-label", `${name} by epoch, so far`);
    drawn?.view?.finalize();
    figure.replaceChildren();
    const view = drawChart(figure, { ...spec, data: { name: "curve", values } });
    this.views.set(name, { figure, form, text, view });
  }
}

function showRunning(entries) {
  const running = document.getElementById("running");
  const names = entries.map(nameStage);
  for (const [name, card] of cards) {
    if (names.includes(name)) continue;
    for (const { view } of card.views.values()) view?.finalize();
    card.element.remove();
    cards.delete(name);
  }
  for (const entry of entries) {
    const name = nameStage(entry);
    if (!cards.has(name)) {
      cards.set(name, new Card(entry));
      running.append(cards.get(name).element);
    }
    cards.get(name).show(entry);
  }
}

const WORDS = { ok: "ended well", failed: "failed", interrupted: "was interrupted", died: "died" };

function makeEnd(entry) {
  const element = make("article", "stage");
  const isWell = entry.state === "ok";
  const title = make("h3");
  const link = make("a", "", nameStage(entry));
  link.href = `experiments/${encodeURIComponent(entry.experiment)}.html`;
  const when = new Date(entry.at * 1000).toLocaleTimeString();
  title.append(link, " ", make("span", isWell ? "better" : "worse", WORDS[entry.state]));
  title.append(make("span", "dim", ` after ${formatSeconds(entry.seconds)}, at ${when}`));
  element.append(title);
  if (entry.reason) element.append(make("p", "", entry.reason));
  if (entry.log) element.append(makeLog(entry.log, !isWell)[0]);
  return element;
}

// Only when it is another list: what somebody opened in it stays open.
function showEnded(entries) {
  const text = JSON.stringify(entries);
  if (text === endedText) return;
  endedText = text;
  const ended = document.getElementById("ended");
  ended.replaceChildren();
  if (entries.length) ended.append(make("h3", "", "Ended"), ...entries.map(makeEnd));
}

// Read out when stages start and end, and not with every step.
function tell(running, ended) {
  const parts = running.length ? [`${running.map(nameStage).join(", ")} running`] : ["nothing runs"];
  if (ended.length) parts.push(`${nameStage(ended[0])} ${WORDS[ended[0].state]}`);
  setText(news, `${parts.join("; ")}.`);
}

async function fetchText(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.text();
}

async function refresh() {
  const found = JSON.parse(await fetchText("live.json"));
  showRunning(found.running);
  showEnded(found.ended);
  tell(found.running, found.ended);
  if (found.faults.join("\n") !== [...faults.children].map((fault) => fault.textContent).join("\n")) {
    faults.replaceChildren(...found.faults.map((fault) => make("li", "", fault)));
  }
  if (found.version !== shownVersion) {
    adopt(new DOMParser().parseFromString(await fetchText("index.html"), "text/html"));
    shownVersion = found.version;
  }
}

async function watch() {
  try {
    await refresh();
    live.classList.remove("stale");
  } catch {
    live.classList.add("stale");
    setText(news, "force ui does not answer: this is how things were when it did.");
  }
  setTimeout(watch, INTERVAL_MS);
}

watch();
