#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { countWords } from "../src/wordcount.js";

console.log(countWords(readFileSync(process.argv[2], "utf8")));
