# frozen_string_literal: true

# Server-sent events for as many as come, on Puma: sockets are taken over from Rack (full hijack) and kept in a list; whoever
# publishes writes to all of them. GET subscribes, POST publishes: puma -b tcp://127.0.0.1:8080 config.ru

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n:\n\n"

class Broadcast
  def initialize
    @sockets = []
    @lock = Mutex.new
  end

  def call(env)
    env["REQUEST_METHOD"] == "POST" ? publish(env["rack.input"].read) : subscribe(env)
  end

  private

  def subscribe(env)
    env["rack.hijack"].call
    socket = env["rack.hijack_io"]
    socket.write(HEAD)
    @lock.synchronize { @sockets << socket }
    [-1, {}, []]
  end

  def publish(data)
    event = "data: #{data}\n\n"
    gone = []
    @lock.synchronize do
      @sockets.each do |socket|
        # Who has no room is behind, and not waited for.
        gone << socket if socket.write_nonblock(event, exception: false).is_a?(Symbol)
      rescue SystemCallError, IOError
        gone << socket
      end
      @sockets -= gone unless gone.empty?
    end
    gone.each(&:close)
    [200, { "Content-Type" => "text/plain" }, ["#{@sockets.size}\n"]]
  end
end

run Broadcast.new
