// Starts the Durable Streams server on loopback: node server.mjs PORT FOLDER
import { DurableStreamTestServer } from "@durable-streams/server"

const [port, dataDir] = process.argv.slice(2)
await new DurableStreamTestServer({ port: Number(port), host: "127.0.0.1", dataDir }).start()
