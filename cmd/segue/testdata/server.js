// A server in Node that takes its socket by LISTEN_FDS, and drains at SIGTERM.
const http = require('http');

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  response.setHeader('X-Segue-Pid', process.pid);
  response.setHeader('Connection', 'close');
  response.end(url.searchParams.get('token') ?? '');
});
server.listen({ fd: 3 });
process.on('SIGTERM', () => server.close());
