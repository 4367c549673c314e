"use strict";
// One plain page over the Web API. Everything shown is set as text, never as HTML.

const REFRESH_MS = 2000;
const gb = (mib) => (mib / 1024).toFixed(1) + " GB";

async function api(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  // With the origin, as the page's own address may have user and password, which fetch refuses.
  const answer = await (await fetch(location.origin + path, options)).json();
  if (answer.status !== 0) {
    throw new Error([answer.result, answer.detail.hint].filter(Boolean).join(" — "));
  }
  return answer.result;
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say(text) {
  document.getElementById("message").textContent = text;
}

function action(label, path, body, question) {
  const button = element("button", label);
  button.addEventListener("click", async () => {
    if (question && !confirm(question)) return;
    button.disabled = true;
    say("");
    try {
      await api(path, body);
    } catch (error) {
      say(error.message);
    }
    refresh();
  });
  return button;
}

function row(app, service) {
  const state = service ? service.state : app.state;
  const line = element("tr");
  const name = element("td", app.title || app.app);
  name.append(element("small", [app.title ? app.app : "", app.about].filter(Boolean).join(" · ")));
  for (const problem of app.problems.filter((item) => item.remark)) {
    name.append(element("small", "note: " + problem.reason));
  }
  const stateCell = element("td");
  stateCell.append(element("span", app.active || !app.type ? state : "off", state));
  if (service) stateCell.append(...remarks(service).map((text) => element("small", text)));
  const functions = app.functions.map((item) => item.name).join(", ");
  const actions = element("td");
  if (app.installable && !app.installed && state !== "installing") {
    actions.append(action("install", "/app/install", { app: app.app }));
  }
  if (service && app.installed && app.active) {
    if (["queued", "starting", "ready", "parked", "stopping"].includes(state)) {
      actions.append(action("stop", "/service/stop", { app: app.app }));
    } else {
      actions.append(action("start", "/service/start", { app: app.app, wait: false }));
    }
    const log = element("a", "log");
    log.href = `/service/${encodeURIComponent(app.app)}/logs`;
    actions.append(log);
  }
  if (app.installable && state !== "installing") {
    if (app.installed && !app.by_hand) {
      actions.append(action("update", "/app/update", { app: app.app },
        `Update ${app.app}? It stops first, and cannot be called meanwhile.`));
    }
    if (app.installed || state === "failed") {
      actions.append(action("uninstall", "/app/uninstall", { app: app.app },
        `Uninstall ${app.app}? ${app.size - app.shared} MB in apps/${app.app} go, except data folders.`));
    }
  }
  line.append(
    name,
    stateCell,
    element("td", service ? memoryOf(service) : ""),
    element("td", app.size ? app.size + " MB" : ""),
    element("td", functions),
    actions,
  );
  return line;
}

function remarks(service) {
  const found = service.reason ? [service.reason] : [];
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

async function refresh() {
  try {
    const [apps, status] = await Promise.all([api("/app/list"), api("/service/status")]);
    const services = Object.fromEntries(status.services.map((item) => [item.app, item]));
    const listening = status.services.flatMap((item) =>
      item.problems.map((reason) => ({ app: item.app, key: "", file: "service", line: null, reason })));
    showMemory(status.memory);
    showProblems([...status.problems, ...listening]);
    document.getElementById("apps").replaceChildren(
      ...apps.map((app) => row(app, services[app.app])));
  } catch (error) {
    document.getElementById("memory").textContent = "The server does not answer: " + error.message;
  }
}

refresh();
setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
