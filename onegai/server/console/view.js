"use strict";
// What the pages share, and the view over the page: a log, a job while it runs, the jobs.
// Everything shown is set as text, never as HTML.

const LINES = 2000;
let skew = 0; // seconds by which the server's clock is ahead of this one

async function api(path, body, method = body === undefined ? "GET" : "POST") {
  const options = { method };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  // With the origin, as the page's own address may have user and password, which fetch refuses.
  const answer = await (await fetch(location.origin + path, options)).json();
  skew = answer.servertime - Date.now() / 1000;
  if (answer.status !== 0) throw new Error(inWords(answer.result, answer.detail));
  return answer.result;
}

function inWords(message, detail) {
  return [message, detail.hint].filter(Boolean).join(" — ");
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say(text) {
  for (const place of document.querySelectorAll(".message")) place.textContent = text;
}

function button(label, act) {
  const made = element("button", label);
  made.addEventListener("click", async () => {
    made.disabled = true;
    say("");
    try {
      await act();
    } catch (error) {
      say(error.message);
    }
    made.disabled = false;
    refresh();
  });
  return made;
}

function duration(seconds) {
  for (const [name, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${name}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

const ago = (time) => duration(Date.now() / 1000 + skew - time) + " ago";

const view = {
  dialog: document.getElementById("view"),
  source: null,

  open(title, body, ...actions) {
    this.source?.close();
    this.dialog.querySelector("h2").textContent = title;
    document.getElementById("view-actions").replaceChildren(...actions);
    document.getElementById("view-body").replaceChildren(body);
    if (!this.dialog.open) this.dialog.showModal();
  },

  // Lines as they come from a stream of events; a reader who has scrolled up is left there.
  follow(title, path, listeners, ...actions) {
    const shown = element("pre");
    const add = (text) => {
      const atEnd = this.dialog.scrollTop + this.dialog.clientHeight > this.dialog.scrollHeight - 30;
      shown.append(text + "\n");
      while (shown.childNodes.length > LINES) shown.firstChild.remove();
      if (atEnd) this.dialog.scrollTop = this.dialog.scrollHeight;
    };
    this.open(title, shown, ...actions);
    const source = new EventSource(location.origin + path);
    this.source = source;
    for (const [event, listener] of Object.entries(listeners)) {
      source.addEventListener(event, (told) => listener(JSON.parse(told.data), add, source));
    }
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) add("(nothing more: the server refused)");
    });
    return shown;
  },

  log(app) {
    const path = `/service/${encodeURIComponent(app)}/logs?follow=1&tail=200`;
    const shown = this.follow(`Log of ${app}`, path, { line: (told, add) => add(told.line) });
    // A connection that is made anew begins with the last lines again.
    this.source.addEventListener("open", () => shown.replaceChildren());
  },

  job(job) {
    const cancel = button("cancel", () => api(`/job/${job.id}`, undefined, "DELETE"));
    const title = `${job.kind} ${job.app}`;
    this.follow(title, `/job/${job.id}/events`, {
      output: (told, add) => add(told.line),
      state: (told, add, source) => {
        this.dialog.querySelector("h2").textContent = `${title}: ${told.state}`;
        if (told.ended === null) return;
        source.close();
        cancel.remove();
        if (told.error) add(`\n${inWords(told.error.message, told.error)}`);
        refresh();
      },
    }, cancel);
  },

  async jobs() {
    const table = element("table");
    for (const job of (await api("/job")).slice(0, 50)) {
      const line = element("tr");
      const what = element("td", [job.kind, job.app, job.function].filter(Boolean).join(" "));
      if (job.error) what.append(element("small", job.error.message));
      const state = element("td");
      state.append(element("span", job.state, job.state),
        element("small", ago(job.ended ?? job.started ?? job.created)));
      const actions = element("td");
      actions.append(button("output", () => this.job(job)));
      line.append(what, state, actions);
      table.append(line);
    }
    const none = element("p", "There are none since OneGAI was started.");
    this.open("Jobs", table.rows.length ? table : none);
  },
};

document.getElementById("close").addEventListener("click", () => view.dialog.close());
view.dialog.addEventListener("close", () => view.source?.close());
