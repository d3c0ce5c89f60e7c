// Draws each figure's chart with Vega-Lite, in the colours of the page.
"use strict";

const style = getComputedStyle(document.documentElement);
const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
const config = {
  background: null,
  view: { stroke: null },
  axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line },
  legend: { labelColor: ink, titleColor: ink },
  title: { color: ink },
};

// Draws into `place`; returns the view, or nothing where the chart cannot be drawn: the others can.
function drawChart(place, spec) {
  try {
    const compiled = vegaLite.compile({ ...spec, config }).spec;
    const view = new vega.View(vega.parse(compiled), { renderer: "svg", container: place });
    view.runAsync();
    return view;
  } catch (error) {
    place.textContent = `This chart cannot be drawn: ${error.message}`;
    return undefined;
  }
}

for (const figure of document.querySelectorAll("figure[data-chart]")) {
  const place = document.createElement("div");
  figure.prepend(place);
  drawChart(place, JSON.parse(document.getElementById(figure.dataset.chart).textContent));
}
