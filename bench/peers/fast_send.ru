# One file through the gem fast_send, as its users do: a body with each_file. Without the gem sendfile, the gem itself
# takes IO.copy_stream. FILE says which.
require 'fast_send'

class OneFile
  def initialize(path)
    @path = path
  end

  def each_file(&block)
    File.open(@path, 'rb', &block)
  end
end

path = ENV.fetch('FILE')
size = File.size(path).to_s
use FastSend
run ->(_env) { [200, { 'Content-Type' => 'application/octet-stream', 'Content-Length' => size }, OneFile.new(path)] }
