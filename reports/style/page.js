(function () {
  "use strict";
  var block = document.getElementById("page-data");
  var data = block && block.textContent.trim() ? JSON.parse(block.textContent) : {};
  var SVG = "http://www.w3.org/2000/svg";
  var MINUS = "\u2212";

  function make(tag, attributes, text) {
    var node = document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (key) { node.setAttribute(key, attributes[key]); });
    if (text !== undefined) { node.textContent = text; }
    return node;
  }

  function draw(tag, attributes, text) {
    var node = document.createElementNS(SVG, tag);
    Object.keys(attributes || {}).forEach(function (key) { node.setAttribute(key, attributes[key]); });
    if (text !== undefined) { node.textContent = text; }
    return node;
  }

  function shown(value) {
    if (value === null) { return "\u2013"; }
    var size = Math.abs(value);
    return value.toFixed(size >= 100 ? 1 : size >= 1 ? 2 : 3).replace("-", MINUS);
  }

  // Tables: sortable by every column, filterable where they are long.

  function number(text) {
    var found = text.replace(/\u2212/g, "-").replace(/\u00a0/g, "").match(/-?\d+(?:\.\d+)?(?:e-?\d+)?/);
    return found ? parseFloat(found[0]) + (/^\s*>/.test(text) ? 1e-6 : 0) - (/^\s*</.test(text) ? 1e-6 : 0) : NaN;
  }

  function framed(table) {
    var frame = make("div", { "class": "frame", tabindex: "0", role: "region" });
    var caption = table.querySelector("caption");
    frame.setAttribute("aria-label", caption ? caption.textContent.slice(0, 120) : "Table");
    table.parentNode.insertBefore(frame, table);
    frame.appendChild(table);
    return frame;
  }

  function filterable(table, frame) {
    var body = table.tBodies[0];
    var label = make("label", { "class": "filter" }, "Filter rows: ");
    var field = make("input", { type: "search" });
    var count = make("span", { "class": "count", role: "status" });
    label.appendChild(field);
    label.appendChild(count);
    frame.insertBefore(label, table);
    field.addEventListener("input", function () {
      var wanted = field.value.toLowerCase(), left = 0;
      Array.prototype.forEach.call(body.rows, function (row) {
        row.hidden = row.textContent.toLowerCase().indexOf(wanted) < 0;
        left += row.hidden ? 0 : 1;
      });
      count.textContent = wanted ? left + " of " + body.rows.length + " rows" : "";
    });
  }

  function sortable(table) {
    var body = table.tBodies[0];
    Array.prototype.forEach.call(table.tHead ? table.tHead.rows[0].cells : [], function (head, place) {
      head.scope = "col";
      var button = make("button", { type: "button" });
      while (head.firstChild) { button.appendChild(head.firstChild); }
      head.appendChild(button);
      button.addEventListener("click", function () {
        var down = head.getAttribute("aria-sort") === "ascending";
        Array.prototype.forEach.call(table.tHead.rows[0].cells, function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        var rows = Array.prototype.slice.call(body.rows);
        var cells = rows.map(function (row) { return row.cells[place].textContent; });
        var numeric = cells.filter(function (cell) { return !isNaN(number(cell)) || cell.trim() === "\u2013"; }).length === cells.length
          && cells.some(function (cell) { return /^[\s\u2212<>\d\[]/.test(cell); });
        rows.sort(function (a, b) {
          var x = a.cells[place].textContent, y = b.cells[place].textContent;
          if (numeric) {
            var p = number(x), q = number(y);
            if (isNaN(p) || isNaN(q)) { return isNaN(p) - isNaN(q); }
            return down ? q - p : p - q;
          }
          return down ? y.localeCompare(x) : x.localeCompare(y);
        });
        rows.forEach(function (row) { body.appendChild(row); });
      });
    });
  }

  // Downloads: nothing is fetched; files are made of what is on the page.

  function save(address, name) {
    var link = make("a", { href: address, download: name });
    document.body.appendChild(link);
    link.click();
    link.remove();
  }

  function unpacked(packed) {
    var raw = atob(packed), bytes = new Uint8Array(raw.length);
    for (var k = 0; k < raw.length; k += 1) { bytes[k] = raw.charCodeAt(k); }
    var stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  function asText(text, kind) { return "data:" + kind + ";charset=utf-8," + encodeURIComponent(text); }

  function asPng(address, width, height, name) {
    var image = new Image();
    image.onload = function () {
      var canvas = make("canvas", { width: String(2 * width), height: String(2 * height) });
      var pen = canvas.getContext("2d");
      pen.fillStyle = "#ffffff";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(image, 0, 0, canvas.width, canvas.height);
      save(canvas.toDataURL("image/png"), name);
    };
    image.src = address;
  }

  function tool(bar, text, label, action) {
    var button = make("button", { type: "button", "aria-label": label }, text);
    button.addEventListener("click", action);
    bar.appendChild(button);
  }

  function downloads(figure) {
    var image = figure.querySelector("img");
    var name = figure.id.replace(/^fig-/, "");
    if (!image || !/^data:image\/svg/.test(image.src)) { return; }
    var bar = make("div", { "class": "tools" });
    tool(bar, "SVG", "Download the figure " + name + " as SVG", function () { save(image.src, name + ".svg"); });
    tool(bar, "PNG", "Download the figure " + name + " as PNG", function () {
      asPng(image.src, image.naturalWidth, image.naturalHeight, name + ".png");
    });
    if (data.figures && data.figures[name]) {
      tool(bar, "Data (CSV)", "Download the data of the figure " + name + " as CSV", function () {
        unpacked(data.figures[name]).then(function (text) { save(asText(text, "text/csv"), name + ".csv"); });
      });
    }
    figure.appendChild(bar);
  }

  // Capability against safety, one benchmark at a time.

  function ticks(low, high, wanted) {
    var rough = (high - low) / wanted || 1, power = Math.pow(10, Math.floor(Math.log10(rough)));
    var step = [1, 2, 5, 10].map(function (k) { return k * power; }).filter(function (k) { return k >= rough; })[0];
    var found = [];
    for (var k = Math.ceil(low / step); k * step <= high + 1e-9; k += 1) { found.push(k * step); }
    return { at: found, digits: Math.max(0, -Math.floor(Math.log10(step))) };
  }

  function padded(values) {
    var low = Math.min.apply(null, values), high = Math.max.apply(null, values), gap = 0.06 * (high - low || 1);
    return [low - gap, high + gap];
  }

  function marker(kind, x, y) {
    var r = 5.5;
    if (kind % 4 === 0) { return draw("circle", { cx: x, cy: y, r: r }); }
    if (kind % 4 === 1) { return draw("rect", { x: x - r + 0.5, y: y - r + 0.5, width: 2 * r - 1, height: 2 * r - 1 }); }
    var corners = kind % 4 === 2
      ? [[x, y - r - 1], [x + r + 1, y + r], [x - r - 1, y + r]]
      : [[x, y - r - 1.5], [x + r + 1.5, y], [x, y + r + 1.5], [x - r - 1.5, y]];
    return draw("polygon", { points: corners.map(function (c) { return c.join(","); }).join(" ") });
  }

  function exported(picture) {
    var copy = picture.cloneNode(true), there = picture.querySelectorAll("*"), here = copy.querySelectorAll("*");
    Array.prototype.forEach.call(there, function (node, k) {
      var look = getComputedStyle(node);
      ["fill", "stroke", "stroke-width", "opacity", "font-size", "font-family"].forEach(function (key) {
        here[k].setAttribute(key, look.getPropertyValue(key));
      });
    });
    var across = picture.viewBox.baseVal.width, down = picture.viewBox.baseVal.height;
    var back = draw("rect", { width: across, height: down, fill: getComputedStyle(document.body).backgroundColor });
    copy.insertBefore(back, copy.firstChild);
    copy.setAttribute("width", across);
    copy.setAttribute("height", down);
    return new XMLSerializer().serializeToString(copy);
  }

  function scatter(found) {
    var width = 720, height = 470, left = 64, right = 16, top = 34, bottom = 50;
    var box = make("section", { "class": "scatter", "aria-labelledby": "models-one-by-one" });
    box.appendChild(make("h2", { id: "models-one-by-one" }, "Models, one benchmark at a time"));
    box.appendChild(make("p", {}, found.words));
    var controls = make("div", { "class": "controls" });
    var label = make("label", {}, "Benchmark: "), choice = make("select");
    found.benchmarks.forEach(function (each, k) { choice.appendChild(make("option", { value: String(k) }, each.label)); });
    label.appendChild(choice);
    controls.appendChild(label);
    var arrows = make("input", { type: "checkbox" });
    arrows.checked = true;
    if (found.pairs.length) {
      var second = make("label");
      second.appendChild(arrows);
      second.appendChild(document.createTextNode(" arrows within lineages"));
      controls.appendChild(second);
    }
    box.appendChild(controls);
    var picture = draw("svg", { role: "group", "aria-roledescription": "scatter plot" });
    box.appendChild(picture);
    var tip = make("p", { "class": "tip", role: "status" });
    box.appendChild(tip);
    var floating = make("div", { "class": "floating", "aria-hidden": "true" });
    floating.hidden = true;
    box.appendChild(floating);
    var bar = make("div", { "class": "tools" });
    tool(bar, "SVG", "Download this plot as SVG", function () { save(asText(exported(picture), "image/svg+xml"), "models.svg"); });
    tool(bar, "PNG", "Download this plot as PNG", function () {
      asPng(asText(exported(picture), "image/svg+xml"), width, height, "models.png");
    });
    tool(bar, "Data (CSV)", "Download the data of this plot as CSV", function () { save(asText(csv(), "text/csv"), "models.csv"); });
    box.appendChild(bar);
    var more = make("details");
    more.appendChild(make("summary", {}, "The points as a table"));
    var holder = make("div");
    more.appendChild(holder);
    box.appendChild(more);
    var active = 0;

    function own() { return found.benchmarks[Number(choice.value)]; }
    function points() {
      return found.models.map(function (model, k) {
        return { model: model, y: own().values[k], place: k };
      }).filter(function (each) { return each.y !== null && each.model.x !== null; });
    }
    function told(each) {
      return each.model.name + " (" + each.model.model_class + ", " + each.model.family + "): capability " + shown(each.model.x)
        + " [" + shown(each.model.lower) + ", " + shown(each.model.upper) + "], score " + shown(each.y)
        + (own().unit ? " " + own().unit : "");
    }
    function quoted(text) { return "\"" + String(text).replace(/"/g, "\"\"") + "\""; }
    function csv() {
      return "model,model_class,family,lineage,capability,lower,upper,benchmark,score\n" + points().map(function (each) {
        var m = each.model;
        return [quoted(m.name), quoted(m.model_class), quoted(m.family), quoted(m.lineage), m.x, m.lower, m.upper, quoted(own().id), each.y].join(",");
      }).join("\n") + "\n";
    }

    function pointTable(all) {
      var table = make("table");
      table.appendChild(make("caption", {}, own().label + ": capability and score of each model."));
      var head = table.createTHead().insertRow();
      ["Model", "Class", "Family", "Capability", "Score"].forEach(function (text) {
        head.appendChild(make("th", { scope: "col" }, text));
      });
      var body = table.createTBody();
      all.forEach(function (each) {
        var row = body.insertRow();
        [each.model.name, each.model.model_class, each.model.family, shown(each.model.x), shown(each.y)].forEach(function (text) {
          row.insertCell().textContent = text;
        });
      });
      holder.textContent = "";
      holder.appendChild(table);
      var frame = framed(table);
      sortable(table);
      filterable(table, frame);
    }

    function redraw() {
      var all = points();
      width = Math.max(340, Math.min(720, box.clientWidth || 720));
      height = width < 520 ? 380 : 470;
      picture.setAttribute("viewBox", "0 0 " + width + " " + height);
      picture.textContent = "";
      floating.hidden = true;
      tip.textContent = "Point at a model, or move between models with the arrow keys.";
      picture.setAttribute("aria-label", "Capability against score on " + own().label + ", " + all.length + " models.");
      if (!all.length) { return; }
      var spanX = padded(all.map(function (each) { return each.model.x; }));
      var spanY = padded(all.map(function (each) { return each.y; }));
      function px(x) { return left + (x - spanX[0]) / (spanX[1] - spanX[0]) * (width - left - right); }
      function py(y) { return height - bottom - (y - spanY[0]) / (spanY[1] - spanY[0]) * (height - top - bottom); }
      function held(x) { return Math.min(Math.max(px(x), left), width - right); }
      var tx = ticks(spanX[0], spanX[1], width / 110), ty = ticks(spanY[0], spanY[1], 6);
      tx.at.forEach(function (x) {
        picture.appendChild(draw("line", { "class": "grid", x1: px(x), x2: px(x), y1: top, y2: height - bottom }));
        picture.appendChild(draw("text", { x: px(x), y: height - bottom + 18, "text-anchor": "middle" }, x.toFixed(tx.digits).replace("-", MINUS)));
      });
      ty.at.forEach(function (y) {
        picture.appendChild(draw("line", { "class": "grid", x1: left, x2: width - right, y1: py(y), y2: py(y) }));
        picture.appendChild(draw("text", { x: left - 8, y: py(y) + 4, "text-anchor": "end" }, y.toFixed(ty.digits).replace("-", MINUS)));
      });
      picture.appendChild(draw("line", { "class": "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
      picture.appendChild(draw("line", { "class": "axis", x1: left, x2: left, y1: top, y2: height - bottom }));
      picture.appendChild(draw("text", { x: (left + width - right) / 2, y: height - 10, "text-anchor": "middle" }, found.axis));
      picture.appendChild(draw("text", { x: 14, y: (top + height - bottom) / 2, "text-anchor": "middle",
        transform: "rotate(-90 14 " + (top + height - bottom) / 2 + ")" }, "score, higher is safer" + (own().unit ? " (" + own().unit + ")" : "")));
      found.classes.forEach(function (name, k) {
        var x = left + 10 + k * 130, sign = marker(k, x, 16);
        sign.setAttribute("class", "class" + k % 4);
        picture.appendChild(sign);
        picture.appendChild(draw("text", { x: x + 12, y: 20 }, name.length > 16 ? name.slice(0, 15) + "\u2026" : name));
      });
      var at = {};
      all.forEach(function (each) { at[each.place] = each; });
      if (arrows.checked) {
        found.pairs.forEach(function (pair) {
          var a = at[pair[0]], b = at[pair[1]];
          if (!a || !b) { return; }
          var x1 = px(a.model.x), y1 = py(a.y), x2 = px(b.model.x), y2 = py(b.y);
          var length = Math.sqrt((x2 - x1) * (x2 - x1) + (y2 - y1) * (y2 - y1));
          if (length < 14) { return; }
          var ux = (x2 - x1) / length, uy = (y2 - y1) / length, ex = x2 - 8 * ux, ey = y2 - 8 * uy;
          picture.appendChild(draw("line", { "class": "arrow", x1: x1 + 6 * ux, y1: y1 + 6 * uy, x2: ex - 5 * ux, y2: ey - 5 * uy }));
          picture.appendChild(draw("polygon", { "class": "head", points: [[ex, ey], [ex - 7 * ux - 3.2 * uy, ey - 7 * uy + 3.2 * ux],
            [ex - 7 * ux + 3.2 * uy, ey - 7 * uy - 3.2 * ux]].map(function (c) { return c.join(","); }).join(" ") }));
        });
      }
      var nodes = [];
      var bars = draw("line", { "class": "bar", visibility: "hidden" });
      picture.appendChild(bars);
      function tell(k, loud) {
        var each = all[k], x = px(each.model.x), y = py(each.y), scale = picture.getBoundingClientRect().width / width;
        nodes[active].setAttribute("tabindex", "-1");
        nodes[active].classList.remove("on");
        active = k;
        nodes[k].setAttribute("tabindex", "0");
        nodes[k].classList.add("on");
        Object.keys({ x1: 1, x2: 1, y1: 1, y2: 1 }).forEach(function (key) {
          bars.setAttribute(key, key[0] === "y" ? y : held(key === "x1" ? each.model.lower : each.model.upper));
        });
        bars.setAttribute("class", "bar class" + each.model.kind % 4);
        bars.setAttribute("visibility", each.model.lower === null ? "hidden" : "visible");
        tip.textContent = told(each);
        floating.textContent = each.model.name;
        floating.hidden = !loud;
        var inside = picture.getBoundingClientRect(), outside = box.getBoundingClientRect();
        floating.style.top = inside.top - outside.top + y * scale - 36 + "px";
        floating.style.left = Math.max(0, Math.min(x * scale + 10, inside.width - 170)) + "px";
      }
      all.forEach(function (each, k) {
        var sign = marker(each.model.kind, px(each.model.x), py(each.y));
        sign.setAttribute("class", "point class" + each.model.kind % 4);
        sign.setAttribute("role", "img");
        sign.setAttribute("aria-label", told(each));
        sign.setAttribute("tabindex", "-1");
        sign.addEventListener("mouseenter", function () { tell(k, true); });
        sign.addEventListener("mouseleave", function () { floating.hidden = true; });
        sign.addEventListener("focus", function () { tell(k, true); });
        sign.addEventListener("blur", function () { floating.hidden = true; });
        sign.addEventListener("keydown", function (event) {
          var move = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
          if (!move) { return; }
          event.preventDefault();
          nodes[order[(order.indexOf(k) + move + all.length) % all.length]].focus();
        });
        nodes.push(sign);
        picture.appendChild(sign);
      });
      var order = all.map(function (each, k) { return k; }).sort(function (a, b) { return all[a].model.x - all[b].model.x; });
      active = order[0];
      nodes[active].setAttribute("tabindex", "0");
      pointTable(all);
    }

    choice.addEventListener("change", redraw);
    arrows.addEventListener("change", redraw);
    var before = window.innerWidth;
    window.addEventListener("resize", function () {
      if (window.innerWidth !== before) { before = window.innerWidth; redraw(); }
    });
    var beside = document.getElementById("fig-forest"), main = document.querySelector("main");
    if (beside) { beside.parentNode.insertBefore(box, beside.nextSibling); } else { main.appendChild(box); }
    redraw();
  }

  document.querySelectorAll("main table").forEach(function (table) {
    var frame = framed(table), body = table.tBodies[0];
    if (!body || body.rows.length < 3) { return; }
    if (body.rows.length > 9) { filterable(table, frame); }
    sortable(table);
  });
  document.querySelectorAll("main figure").forEach(downloads);
  if (data.scatter && data.scatter.benchmarks.length) { scatter(data.scatter); }
})();
