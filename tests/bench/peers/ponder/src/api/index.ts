// Ponder wants a server; nothing asks it.
import { Hono } from "hono";

export default new Hono();
