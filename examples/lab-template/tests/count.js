// npm run count -- "some text": what the counter says at this moment.
import { countWords } from "../src/wordcount.js";

console.log(countWords(process.argv.slice(2).join(" ")));
