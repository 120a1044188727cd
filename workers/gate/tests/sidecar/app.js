// The same application in JavaScript, as far as the tests ask for it.
const http = require("node:http");

const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    // The one line that an application needs.
    const side = request.headers["handover-side-invoice-reminders"] ?? null;
    const answer = { side, user: request.headers["handover-user"] ?? null, headers: request.headers };
    const status = Number(new URL(request.url, "http://x").searchParams.get("status") ?? 200);
    response.writeHead(status, { "Content-Type": "application/json" });
    response.end(JSON.stringify(answer));
  });
});
server.listen(0, "127.0.0.1", () => console.log(`listening ${server.address().port} .`));
