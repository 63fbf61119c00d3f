// The page says by the reader's clock when it is too old to be believed, and reads itself anew.
"use strict";
const AGAIN_SECONDS = 15;

function grey() {
  const main = document.querySelector("main");
  if (main.dataset.validUntil && Date.now() <= Date.parse(main.dataset.validUntil)) return;
  for (const each of main.querySelectorAll("[data-state]")) each.dataset.state = "unknown";
  for (const each of main.querySelectorAll("[data-state] .word")) each.textContent = "unknown";
  if (!main.dataset.validUntil) return; // it says so itself
  for (const each of main.querySelectorAll(".count")) each.textContent = "unknown";
  main.classList.add("old");
  main.querySelector("h1").textContent = "Nobody knows how things are";
  main.querySelector(".reason").textContent = main.dataset.old;
  document.title = "Unknown: Tidemark's status";
}

async function again() {
  let text;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) return;
    text = await answer.text();
  } catch {
    return; // whoever gives the page is gone: it turns grey by itself
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  const [before, after] = [document.querySelector("main"), page.querySelector("main")];
  if (!after || before.dataset.observedAt === after.dataset.observedAt) return;
  for (const each of before.querySelectorAll("details[id]")) {
    const same = after.querySelector(`#${CSS.escape(each.id)}`);
    if (same) same.open = each.open;
  }
  before.replaceWith(document.adoptNode(after));
  document.title = page.title;
  grey();
}

grey();
setInterval(grey, 1000);
setInterval(again, AGAIN_SECONDS * 1000);
