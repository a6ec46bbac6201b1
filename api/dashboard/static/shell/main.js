// The entry of every page: what the frame can do. Pages bring modules of their own beside it.
import { watchCopyButtons } from "./copy.js";
import { watchKeys } from "./keys.js";
import { watchMenus } from "./menus.js";
import { watchReveals } from "./reveal.js";
import { watchSignOut } from "./session.js";
import { watchTheme } from "./theme.js";
import { watchTimes } from "./times.js";

watchTheme();
watchTimes();
watchMenus();
watchCopyButtons();
watchReveals();
watchSignOut();
watchKeys();
