"use strict";
// One plain page over the Web API: memory, problems, apps. What both files share is in view.js.

const REFRESH_MS = 2000;
const UP = ["queued", "starting", "ready", "parked", "stopping"];
const gb = (mib) => (mib / 1024).toFixed(1) + " GB";

function begin(path, app, question) {
  return async () => {
    if (question && !confirm(question)) return;
    view.job(await api(path, { app: app.app }));
  };
}

function actions(app, service) {
  const made = [];
  const { job } = app;
  if (job) {
    made.push(button("progress", () => view.job(job)),
      button("cancel", () => api(`/job/${job.id}`, undefined, "DELETE")));
  }
  if (service && app.installed && app.active) {
    made.push(UP.includes(service.state)
      ? button("stop", () => api("/service/stop", { app: app.app }))
      : button("start", () => api("/service/start", { app: app.app, wait: false })));
    made.push(button("log", () => view.log(app.app)));
  }
  if (!app.installable || job || app.state === "installing") return made;
  if (!app.installed) made.push(button("install", begin("/app/install", app)));
  if (app.installed) {
    made.push(button("update", begin("/app/update", app,
      `Update ${app.app}? It stops first, and cannot be called meanwhile.`)));
  }
  if (app.installed || app.state === "failed") {
    made.push(button("uninstall", begin("/app/uninstall", app,
      `Uninstall ${app.app}? All of apps/${app.app} goes, except data folders.`)));
  }
  return made;
}

function row(app, service) {
  const name = element("td", app.title || app.app);
  name.append(element("small", [app.title ? app.app : "", app.about].filter(Boolean).join(" · ")));
  for (const problem of app.problems.filter((item) => item.remark)) {
    name.append(element("small", "note: " + problem.reason));
  }
  const state = element("td");
  state.append(stateOf(app, service), ...remarks(app, service).map((text) => element("small", text)));
  const buttons = element("td");
  buttons.append(...actions(app, service));
  buttons.dataset.job = app.job?.id ?? "";
  const line = element("tr");
  line.append(
    name,
    state,
    labelled("Memory", service ? memoryOf(service) : ""),
    labelled("Disk", app.size ? app.size + " MB" : ""),
    labelled("Functions", app.functions.map((item) => item.name).join(", ")),
    buttons,
  );
  return line;
}

function stateOf(app, service) {
  const state = service ? service.state : app.state;
  if (app.job) return element("span", `${app.job.kind}: ${app.job.state}`, "installing");
  if (!app.active && app.type) return element("span", "switched off");
  if (service?.unresponsive) return element("span", "unresponsive", "failed");
  if (app.type === "functions") return element("span", "functions only, nothing to start");
  if (!service && state === "stopped") return element("span", "no service, nothing to start");
  return element("span", state === "absent" ? "not installed" : state, state);
}

function labelled(label, text) {
  const made = element("td", text);
  made.dataset.label = label;
  return made;
}

function remarks(app, service) {
  const found = app.job?.log.slice(-1) ?? [];
  if (!service) return found;
  const stop = service.last_stop;
  if (service.reason) found.push(service.reason);
  else if (stop && service.state !== "ready") found.push(`${stop.text}, ${ago(stop.at)}`);
  if (service.place) found.push(`number ${service.place} in line for memory`);
  if (service.making_way) found.push("makes way for another app");
  if (service.calls) found.push(`calls: ${service.calls} run, ${service.queued} wait`);
  return found;
}

function memoryOf(service) {
  if (service.rss === null) return "";
  const vram = service.vram_used ?? Math.max(service.vram, service.vram_learnt ?? 0);
  return service.rss + " MB" + (vram ? `, ${gb(vram)} VRAM` : "");
}

function showMemory(memory) {
  const parts = [`RAM ${gb(memory.ram_free)} free of ${gb(memory.ram_total)}`];
  if (memory.gpus === null) parts.push("VRAM unknown");
  else if (memory.gpus.length === 0) parts.push("no NVIDIA GPU");
  else for (const gpu of memory.gpus) {
    const others = gpu.others ? `, ${gb(gpu.others)} used by other programs` : "";
    parts.push(`${gpu.name}: ${gb(gpu.free)} free of ${gb(gpu.total)}${others}`);
  }
  if (memory.fake) parts.push("THE GPU IS A FAKE (ONEGAI_FAKE_GPU)");
  document.getElementById("memory").textContent = parts.join(" · ");
}

function showProblems(problems) {
  const section = document.getElementById("problems");
  section.hidden = problems.length === 0;
  section.querySelector("ul").replaceChildren(...problems.map((problem) => {
    const place = problem.file + (problem.line ? ":" + problem.line : "");
    const what = [problem.app, problem.key].filter(Boolean).join(" ");
    return element("li", `${place}: ${what ? what + ": " : ""}${problem.reason}`);
  }));
}

// Cells that are the same stay, so that a button is not exchanged under a finger or the focus.
function showApps(rows) {
  const body = document.getElementById("apps");
  rows.forEach((line, at) => {
    const old = body.rows[at];
    if (!old || !old.cells[0].isEqualNode(line.cells[0])) {
      old ? old.replaceWith(line) : body.append(line);
      return;
    }
    [...line.cells].forEach((cell, index) => {
      if (!old.cells[index].isEqualNode(cell)) old.cells[index].replaceWith(cell);
    });
  });
  while (body.rows.length > rows.length) body.lastElementChild.remove();
}

let asked = 0;
let shown = 0;

async function refresh() {
  const mine = ++asked;
  try {
    const [apps, status] = await Promise.all([api("/app/list"), api("/service/status")]);
    if (mine < shown) return; // a later one was quicker
    shown = mine;
    const services = Object.fromEntries(status.services.map((item) => [item.app, item]));
    const listening = status.services.flatMap((item) =>
      item.problems.map((reason) => ({ app: item.app, key: "", file: "service", line: null, reason })));
    showMemory(status.memory);
    showProblems([...status.problems, ...listening]);
    showApps(apps.map((app) => row(app, services[app.app])));
  } catch (error) {
    document.getElementById("memory").textContent = "The server does not answer: " + error.message;
  }
}

document.getElementById("jobs").addEventListener("click", () => {
  view.jobs().catch((error) => say(error.message));
});
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
