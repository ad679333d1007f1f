import assert from "node:assert/strict";
import { test } from "node:test";

import { countWords } from "../src/wordcount.js";

test("words are separated by one space", () => {
  assert.equal(countWords("one two three"), 3);
});

test("several spaces separate like one", () => {
  assert.equal(countWords("two  spaces"), 2);
});

test("tabs and line ends separate as well", () => {
  assert.equal(countWords("a\tb\nc\r\nd"), 4);
});

test("white space at both ends is no word", () => {
  assert.equal(countWords("  inside  "), 1);
});

test("an empty text has no words", () => {
  assert.equal(countWords(""), 0);
  assert.equal(countWords(" \n\t "), 0);
});
