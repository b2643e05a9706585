"use strict";
// Images that were classified, what was said of them, and scores that follow from both.

/** Inflate the true classes and the names of the images, once. */
const imageFacts = (() => {
  let facts = null;
  return () => (facts ??= (async () => {
    const { images } = page.data;
    const [labels, names] = await Promise.all([inflate(images.labels), inflate(images.names)]);
    return { labels: numbers(labels, images.wide), names: new TextDecoder().decode(names).split("\n") };
  })());
})();

function numbers(bytes, wide) {
  return wide ? new Uint16Array(bytes.buffer) : bytes;
}

/** Return the predicted class of every image. */
async function predictedBy(off, count) {
  const { labels } = await imageFacts();
  const away = numbers(await inflate(off), page.data.images.wide);
  return Uint16Array.from(labels, (label, image) => (label + away[image]) % count);
}

function countCells(labels, predicted, count) {
  const cells = new Int32Array(count * count);
  labels.forEach((label, image) => cells[label * count + predicted[image]]++);
  return cells;
}

/** Precision, recall and F1 of each class from a matrix. */
function classScores(classes, cells) {
  const count = classes.length;
  return classes.map((name, a) => {
    let support = 0, taken = 0;
    for (let b = 0; b < count; b++) { support += cells[a * count + b]; taken += cells[b * count + a]; }
    const hits = cells[a * count + a];
    return { name, support, precision: taken ? hits / taken : 0, recall: support ? hits / support : 0,
      f1: support + taken ? (2 * hits) / (support + taken) : 0 };
  });
}

const CLASS_COLUMNS = [
  { title: "class", value: (row) => row.name },
  { title: "precision", number: true, value: (row) => row.precision, cell: (row) => score(row.precision) },
  { title: "recall", number: true, value: (row) => row.recall, cell: (row) => score(row.recall) },
  { title: "F1", number: true, value: (row) => row.f1, cell: (row) => score(row.f1) },
  { title: "images", number: true, value: (row) => row.support },
];

function figure(image, name, ...lines) {
  const data = page.data.images.pictures[image];
  const shown = data ? el("img", { src: `data:image/jpeg;base64,${data}`, alt: name || `image ${image}`, width: 64, height: 64 })
    : el("div", { class: "none" }, "no picture in this file");
  return el("figure", {}, shown, el("figcaption", {}, ...lines.flatMap((line) => [line, el("br")]), el("span", { class: "hint" }, name.split("/").pop())));
}

/** The images among some that have a picture come first. */
function picturedFirst(images, most) {
  const { pictures } = page.data.images;
  return [...images].sort((a, b) => (b in pictures) - (a in pictures)).slice(0, most);
}
