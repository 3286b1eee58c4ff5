"use strict";
// Pages, filter and search over the answers; texts only ever become text nodes.
(() => {
  const data = JSON.parse(document.getElementById("samples-data").textContent);
  const place = document.getElementById("samples");
  const tools = document.getElementById("samples-tools");
  const [search, filter, sets] = tools.querySelectorAll("input, select");
  const [back, next] = tools.querySelectorAll("button");
  const status = document.getElementById("samples-status");
  const size = 20;
  let found = data.rows, page = 0;

  const make = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const text = (words) => {
    const made = make("div", "text");
    made.dir = "auto";
    made.append(words.trim() ? words : make("em", "", "(empty)"));
    return made;
  };
  const titled = (title, words, marks, name) => {
    const made = make("div", name), head = make("h4", "", title);
    for (const [good, word] of marks)
      head.append(make("span", "outcome " + (good ? "better" : "worse"), (good ? "✓ " : "✗ ") + word));
    made.append(head, text(words));
    return made;
  };
  const judged = (row) => Object.entries(row.judged || {}).filter(([, score]) => score !== 0.5)
    .map(([name, score]) => [score === 1, (score === 1 ? "beats " : "loses to ") + name]);
  const show = (row) => {
    const made = make("article");
    made.append(make("h3", "", sets ? row.id + ", " + row.set : row.id));
    for (const turn of row.prompt) made.append(titled(turn.role, turn.content, [], "turn"));
    if (row.expected !== null && row.expected !== undefined)
      made.append(make("p", "note", "A right answer holds “" + [].concat(row.expected).join("” or “") + "”."));
    const answers = make("div", "answers");
    for (const [name, title] of data.others)
      if (typeof row[name] === "string") answers.append(titled(title, row[name], []));
    for (const [name, title] of data.models) {
      const right = row[name + "_right"];
      const marks = typeof right === "boolean" ? [[right, right ? "right" : "wrong"]] : [];
      if (name === "after") marks.push(...judged(row));
      answers.append(titled(title, row[name], marks));
    }
    made.append(answers);
    return made;
  };
  const filters = {
    all: () => true,
    "now-right": (row) => row.before_right === false && row.after_right === true,
    "now-wrong": (row) => row.before_right === true && row.after_right === false,
    wrong: (row) => row.after_right === false,
    changed: (row) => row.before !== row.after,
  };
  for (const name of data.opponents) {
    filters["beats " + name] = (row) => (row.judged || {})[name] === 1;
    filters["loses to " + name] = (row) => (row.judged || {})[name] === 0;
  }
  const words = (row) => row.words ??= [row.id, row.set, ...row.prompt.map((turn) => turn.content),
    ...[...data.others, ...data.models].map(([name]) => row[name])].join("\n").toLowerCase();
  const draw = () => {
    const last = Math.max(0, Math.ceil(found.length / size) - 1);
    page = Math.min(page, last);
    place.replaceChildren(...found.slice(page * size, (page + 1) * size).map(show));
    status.textContent = found.length + " of " + data.rows.length + " prompts" +
      (last ? ", page " + (page + 1) + " of " + (last + 1) : "");
    back.disabled = page === 0;
    next.disabled = page === last;
  };
  const look = () => {
    const wanted = search.value.toLowerCase(), keep = filters[filter.value];
    const of = sets ? sets.value : "";
    found = data.rows.filter((row) => keep(row) && (!of || row.set === of) &&
      (!wanted || words(row).includes(wanted)));
    page = 0;
    draw();
  };
  let waiting;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(look, 120); });
  for (const each of [filter, sets]) if (each) each.addEventListener("change", look);
  back.addEventListener("click", () => { page -= 1; draw(); });
  next.addEventListener("click", () => { page += 1; draw(); });
  const rest = document.getElementById("samples-rest");
  if (rest) rest.remove();
  tools.hidden = false;
  draw();
})();
