// The table of experiments: sorting, filtering, and two of them side by side.
"use strict";

const table = document.getElementById("experiments");
const body = table.tBodies[0];
let report, rows, texts;
const count = document.getElementById("count");
const filter = document.getElementById("filter");
const comparison = document.getElementById("comparison");

function readCell(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent : cell.dataset.value;
}

// What is empty stands last, whichever way the rest is sorted.
function compareCells(one, other, isNumeric, sign) {
  if (one === "" || other === "") return (one === "") - (other === "");
  return sign * (isNumeric ? Number(one) - Number(other) : one.localeCompare(other));
}

function readResults() {
  report = JSON.parse(document.getElementById("report").textContent);
  rows = [...body.rows];
  texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
}

function sortBy(header, sign) {
  const column = header.cellIndex;
  const isNumeric = header.classList.contains("number");
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const cells = new Map(rows.map((row) => [row, readCell(row, column)]));
  rows.sort((one, other) => compareCells(cells.get(one), cells.get(other), isNumeric, sign));
  body.append(...rows);
}

function showMatching() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    row.hidden = !words.every((word) => texts.get(row).includes(word));
    shown += !row.hidden;
  }
  count.textContent = `${shown} of ${rows.length} experiments`;
}

// The rule of pipeline/certificates.py: metrics compare only where their certificates agree.
function findDifferences(ours, theirs, metric) {
  if (!ours || !theirs) return ["there is no certificate of this version: evaluate again"];
  const reasons = [];
  for (const [name, values] of Object.entries(ours.fields)) {
    const [mine, other] = [values, theirs.fields[name]];
    if (mine[0] !== other[0]) reasons.push(`${name} differs: ${mine[1]} vs ${other[1]}`);
  }
  for (const key of Object.keys(ours.params).filter((key) => Object.hasOwn(theirs.params, key)).sort()) {
    const [mine, other] = [ours.params[key], theirs.params[key]];
    if (mine[0] !== other[0]) reasons.push(`evaluate.${key} differs: ${mine[1]} vs ${other[1]}`);
  }
  const [mine, other] = [get(ours.metrics, metric), get(theirs.metrics, metric)];
  if (!mine || !other) return [...reasons, `no certificate defines ${metric}`];
  for (const field of ["definition", "direction", "unit"]) {
    if (mine[field][0] !== other[field][0]) {
      reasons.push(`${field} of ${metric} differs: ${mine[field][1]} vs ${other[field][1]}`);
    }
  }
  return reasons;
}

// What is somebody's own, and not every object's, as `constructor` is.
function get(values, name) {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

// A metric of both: the mean over the seeds that both have, else what metrics.json says.
function readPair(mine, theirs, metric) {
  const pair = [get(mine.metrics, metric), get(theirs.metrics, metric)];
  if (pair.includes(undefined)) return { values: pair, numSeeds: 0 };
  const seeds = Object.keys(mine.seeds).filter((seed) => Object.hasOwn(theirs.seeds, seed));
  const values = [mine, theirs].map((each) => seeds.map((seed) => get(each.seeds[seed], metric)));
  if (!seeds.length || values.flat().includes(undefined)) return { values: pair, numSeeds: 0 };
  const means = values.map((numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length);
  return { values: means, numSeeds: seeds.length };
}

function listMetrics(...names) {
  return [...new Set(names.flatMap((name) => Object.keys(report.experiments[name].metrics)))];
}

function addCell(row, text, className) {
  const cell = row.insertCell();
  cell.textContent = text;
  if (className) cell.className = className;
  return cell;
}

function format(value) {
  return value === undefined ? "" : value.toFixed(4);
}

function describe(one, other, metric) {
  const [mine, theirs] = [report.experiments[one], report.experiments[other]];
  const { values, numSeeds } = readPair(mine, theirs, metric);
  if (values.includes(undefined)) return { values, text: "" };
  const fault = mine.fault || theirs.fault;
  const certificates = [report.certificates[mine.certificate], report.certificates[theirs.certificate]];
  const reasons = fault ? [fault] : findDifferences(...certificates, metric);
  if (reasons.length) return { values, text: `does not compare: ${reasons.join("; ")}`, className: "dim" };
  const delta = values[1] - values[0];
  const isNothing = Math.abs(delta) < 0.5e-4;
  const isBetter = delta > 0 === (certificates[0].metrics[metric].direction[0] === "max");
  const word = isNothing ? "" : isBetter ? " better" : " worse";
  const seeds = numSeeds > 1 ? `, over ${numSeeds} seeds` : "";
  const text = (delta < 0 && !isNothing ? "−" : "+") + Math.abs(isNothing ? 0 : delta).toFixed(4) + word + seeds;
  return { values, text, className: word.trim() || "dim" };
}

function compareTwo(one, other) {
  const compared = document.createElement("table");
  const head = compared.createTHead().insertRow();
  for (const title of ["metric", one, other, "difference"]) {
    const header = document.createElement("th");
    header.scope = "col";
    header.textContent = title;
    head.append(header);
  }
  const found = compared.createTBody();
  for (const metric of listMetrics(one, other)) {
    const { values, text, className } = describe(one, other, metric);
    const row = found.insertRow();
    addCell(row, metric);
    for (const value of values) addCell(row, format(value), "number");
    addCell(row, text, className);
  }
  comparison.replaceChildren(compared);
}

const chosen = [];

function choose(box) {
  const place = chosen.indexOf(box);
  if (place >= 0) chosen.splice(place, 1);
  if (box.checked) chosen.push(box);
  while (chosen.length > 2) chosen.shift().checked = false;
  showChosen();
}

function showChosen() {
  if (chosen.length === 2) {
    compareTwo(...chosen.map((each) => each.value));
    return;
  }
  comparison.textContent = chosen.length ? "Choose one more to compare." : "Choose two experiments to compare.";
}

function findRow(name) {
  return rows.find((row) => row.querySelector("input").value === name);
}

// Takes the results of a newer page in place of these; order, choice and focus stay.
function adopt(page) {
  const fresh = page.getElementById("experiments");
  const names = chosen.splice(0).map((box) => box.value);
  const focused = document.activeElement;
  const focusedName = focused.closest("#experiments tbody tr")?.querySelector("input").value;
  if (fresh.tHead.textContent !== table.tHead.textContent) table.tHead.replaceChildren(...fresh.tHead.children);
  body.replaceChildren(...fresh.tBodies[0].rows);
  for (const id of ["report", "notes"]) {
    document.getElementById(id).replaceChildren(...page.getElementById(id).childNodes);
  }
  readResults();
  const sorted = table.tHead.querySelector("[aria-sort]");
  if (sorted) sortBy(sorted, sorted.getAttribute("aria-sort") === "descending" ? -1 : 1);
  findRow(focusedName)?.querySelector(focused.tagName)?.focus();
  for (const box of names.map((name) => findRow(name)?.querySelector("input")).filter(Boolean)) {
    box.checked = true;
    chosen.push(box);
  }
  if (names.length) showChosen();
  showMatching();
}

table.tHead.addEventListener("click", (event) => {
  const header = event.target.closest("button")?.parentElement;
  if (header) sortBy(header, header.getAttribute("aria-sort") === "ascending" ? -1 : 1);
});
body.addEventListener("change", (event) => choose(event.target));
filter.addEventListener("input", showMatching);
readResults();
showMatching();
