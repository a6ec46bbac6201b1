// A list that stands still: filters and keys.
import { watchFilters } from "./filters.js";
import { watchRows } from "./rows.js";

watchRows();
watchFilters();
