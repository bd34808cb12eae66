// A service in Node that is restarted without losing a request: no packages, and
// systemd's contract.
//
// It takes the socket "web" from whoever started it (sd_listen_fds(3)), says when
// it is ready, and on SIGTERM stops accepting, answers what it has and ends.
//
// Node has no datagram sockets of the unix kind, which sd_notify(3) needs:
// systemd-notify speaks for it, a program that comes with systemd.
'use strict'

const { execFileSync } = require('node:child_process')
const http = require('node:http')
const net = require('node:net')

const linger = 5000 // milliseconds that a connection without a request is kept after SIGTERM

function inherited (name) {
  if (process.env.LISTEN_PID !== String(process.pid)) {
    console.error('hello.js: no socket was passed; start it with segue run, in this directory')
    process.exit(1)
  }
  return 3 + process.env.LISTEN_FDNAMES.split(':').indexOf(name)
}

let leaving = false

const server = http.createServer((request, response) => {
  response.setHeader('Content-Type', 'text/plain')
  if (leaving) response.setHeader('Connection', 'close') // the client's next connection is the new process's
  response.end(`hello from Node, process ${process.pid}\n`)
})
server.keepAliveTimeout = 0 // clients end connections, so that none ends while a request is on its way

server.listen({ fd: inherited('web') }, () => {
  if (process.env.NOTIFY_SOCKET) execFileSync('systemd-notify', ['--ready'], { stdio: 'inherit' })
})

process.on('SIGTERM', () => {
  leaving = true
  // Stops accepting. http.Server.close would end idle connections at once, on
  // which requests may be on their way.
  net.Server.prototype.close.call(server)
  setTimeout(() => server.closeIdleConnections(), linger).unref()
})
