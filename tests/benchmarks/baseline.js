// The JavaScript baseline: what a plugin inside the agent does per event, with two caches and a counter.
// Reads payloads (one a line) from the file named first; for each "go" on stdin it runs once over all
// of them and prints its CPU time in microseconds and what it derived.
const bytes = await Bun.file(process.argv[2]).bytes();
const lines = [];
for (let start = 0, i = 0; i < bytes.length; i++) {
  if (bytes[i] === 10) {
    lines.push(bytes.subarray(start, i));
    start = i + 1;
  }
}
const decoder = new TextDecoder();

function run() {
  const tokens = new Map();
  const inputs = new Map();
  const tools = new Map();
  const measured = new Set();
  const triggered = new Set();
  for (const line of lines) {
    const event = JSON.parse(decoder.decode(line));
    const properties = event.properties;
    if (event.type === "message.updated") {
      const info = properties.info;
      if (info.role !== "assistant" || !info.finish || info.summary) continue;
      const used = info.tokens.input + info.tokens.cache.read + info.tokens.cache.write;
      if (used === 0) continue;
      tokens.set(info.sessionID, used);
      measured.add(info.id);
      if (used / 200000 >= 0.78) triggered.add(info.sessionID);
    } else if (event.type === "message.part.updated") {
      const part = properties.part;
      if (part.type !== "tool") continue;
      let calls = inputs.get(part.sessionID);
      if (calls === undefined) inputs.set(part.sessionID, (calls = new Map()));
      if (!calls.has(part.callID)) tools.set(part.sessionID, (tools.get(part.sessionID) ?? 0) + 1);
      calls.set(part.callID, part.state.input);
    } else if (event.type === "session.deleted") {
      inputs.delete(properties.info.id);
    }
  }
  return { tokens, tools, measured, triggered };
}

for await (const line of console) {
  if (line !== "go") break;
  const before = process.cpuUsage();
  const { tokens, tools, measured, triggered } = run();
  const used = process.cpuUsage(before);
  let calls = 0;
  for (const count of tools.values()) calls += count;
  let sum = 0;
  for (const count of tokens.values()) sum += count;
  const answer = { sum, sessions: tokens.size, measured: measured.size, calls, triggered: triggered.size };
  console.log(JSON.stringify({ cpu: used.user + used.system, answer }));
}
