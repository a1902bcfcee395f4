// One load for three servers that keep what they accept: so many connections, each with one request
// under way, the next one sent when the reply to the last is whole (no pipelining). One thread,
// epoll.
//
//   durable_client http|redis|nats PORT --target PATH, KEY or SUBJECT [--connections 64]
//       [--seconds 10] [--warm-up 1] [--total 0] [--bytes 512] [--rate 0]
//
// With --total it ends when so many were answered, however long that takes. With --rate requests
// are begun at that pace, by whichever connection is free, and their time counts from the moment at
// which they were due. Prints one JSON object: accepted and refused requests of the measured time,
// their times, and the processor time that this program took, so that whoever reads it sees whether
// the load was the limit.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <memory>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string protocol, target;
  int port = 0, connections = 64, bytes = 512;
  double seconds = 10, warm_up = 1, rate = 0;
  std::uint64_t total = 0;
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "durable_client: %s\n", what.c_str());
  std::exit(1);
}

enum class Heard { Part, Greeted, Accepted, Refused };

// What a server says and wants to hear. hear() takes one whole message off the front of `in`.
class Protocol {
 public:
  virtual ~Protocol() = default;
  virtual bool greets() const { return false; }  // a connection is ready once it has Greeted
  virtual std::string request(int connection) const = 0;
  virtual Heard hear(std::string& in, std::string& out, int connection) const = 0;
};

std::string padded(std::string_view before, std::string_view after, int bytes) {
  const int room = bytes - static_cast<int>(before.size() + after.size());
  return std::string(before) + std::string(std::max(room, 1), 'x') + std::string(after);
}

class Http final : public Protocol {
 public:
  explicit Http(const Options& options) {
    const std::string body =
        padded(R"({"body":{"max_tokens":1,"prompt":")", R"("}})", options.bytes);
    request_ =
        "POST " + options.target + " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(options.port) +
        "\r\nContent-Type: application/json\r\nX-Invocation-Type: Event\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  std::string request(int) const override { return request_; }

  Heard hear(std::string& in, std::string&, int) const override {
    const std::size_t head = in.find("\r\n\r\n");
    if (head == std::string::npos) return Heard::Part;
    const std::size_t whole = head + 4 + body_bytes(std::string_view(in).substr(0, head + 2));
    if (in.size() < whole) return Heard::Part;
    const bool accepted = in.compare(9, 3, "202") == 0;
    if (!accepted) complain(in.substr(0, std::min<std::size_t>(whole, 600)));
    in.erase(0, whole);
    return accepted ? Heard::Accepted : Heard::Refused;
  }

 private:
  static std::size_t body_bytes(std::string_view head) {
    for (std::size_t at = head.find("\r\n"); at + 2 < head.size(); at = head.find("\r\n", at + 2)) {
      constexpr std::string_view kName = "content-length:";
      const std::string_view line = head.substr(at + 2);
      if (line.size() > kName.size() && strncasecmp(line.data(), kName.data(), kName.size()) == 0)
        return std::strtoul(line.data() + kName.size(), nullptr, 10);
    }
    fail("a reply without Content-Length: " + std::string(head));
  }
  static void complain(const std::string& reply) {
    static bool once = false;
    if (!once) std::fprintf(stderr, "durable_client: the first refusal: %s\n", reply.c_str());
    once = true;
  }

  std::string request_;
};

class Redis final : public Protocol {
 public:
  explicit Redis(const Options& options) {
    for (const std::string& word :
         {std::string("XADD"), options.target, std::string("*"), std::string("body"),
          std::string(static_cast<std::size_t>(options.bytes), 'x')})
      request_ += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
    request_.insert(0, "*5\r\n");
  }
  std::string request(int) const override { return request_; }

  Heard hear(std::string& in, std::string&, int) const override {  // "$15\r\n<id>\r\n" or "-ERR …"
    const std::size_t line = in.find("\r\n");
    if (line == std::string::npos) return Heard::Part;
    if (in[0] == '-') fail("redis: " + in.substr(0, line));
    const std::size_t whole = line + 2 + std::strtoul(in.c_str() + 1, nullptr, 10) + 2;
    if (in.size() < whole) return Heard::Part;
    in.erase(0, whole);
    return Heard::Accepted;
  }

 private:
  std::string request_;
};

class Nats final : public Protocol {
 public:
  explicit Nats(const Options& options)
      : target_(options.target), payload_(static_cast<std::size_t>(options.bytes), 'x') {}
  bool greets() const override { return true; }
  std::string request(int connection) const override {
    return "PUB " + target_ + " " + inbox(connection) + " " + std::to_string(payload_.size()) +
           "\r\n" + payload_ + "\r\n";
  }

  Heard hear(std::string& in, std::string& out, int connection) const override {
    const std::size_t line = in.find("\r\n");
    if (line == std::string::npos) return Heard::Part;
    const std::string word = in.substr(0, in.find_first_of(" \r"));
    if (word == "-ERR") fail("nats: " + in.substr(0, line));
    if (word == "MSG") return hear_ack(in, line);
    if (word == "INFO") {
      out += R"(CONNECT {"verbose":false,"pedantic":false,"lang":"cc","version":"1"})";
      out += "\r\nSUB " + inbox(connection) + " 1\r\nPING\r\n";
    }
    if (word == "PING") out += "PONG\r\n";
    in.erase(0, line + 2);
    return word == "PONG" ? Heard::Greeted : hear(in, out, connection);
  }

 private:
  static std::string inbox(int connection) {
    return "_INBOX.durable." + std::to_string(connection);
  }
  // "MSG <subject> <sid> <bytes>\r\n<payload>\r\n"; the payload says in JSON that it is stored, or
  // the error.
  static Heard hear_ack(std::string& in, std::size_t line) {
    const std::size_t bytes = std::strtoul(in.c_str() + in.rfind(' ', line), nullptr, 10);
    const std::size_t whole = line + 2 + bytes + 2;
    if (in.size() < whole) return Heard::Part;
    const std::string ack = in.substr(line + 2, bytes);
    if (ack.find("\"error\"") != std::string::npos) fail("nats: " + ack);
    in.erase(0, whole);
    return Heard::Accepted;
  }

  std::string target_, payload_;
};

std::unique_ptr<Protocol> protocol_of(const Options& options) {
  if (options.protocol == "http") return std::make_unique<Http>(options);
  if (options.protocol == "redis") return std::make_unique<Redis>(options);
  if (options.protocol == "nats") return std::make_unique<Nats>(options);
  fail("the protocol must be http, redis or nats, not " + options.protocol);
}

struct Connection {
  int fd = -1;
  std::string in, out;  // out: what the socket has not taken yet
  bool busy = false;    // a request is under way
  Clock::time_point since;
};

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + t.tv_usec / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

// The load, from the first connection to the figures.
class Load final {
 public:
  explicit Load(const Options& options) : options_(options), protocol_(protocol_of(options)) {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    connections_.resize(static_cast<std::size_t>(options.connections));
    for (std::size_t i = 0; i < connections_.size(); ++i) open(i);
  }

  void run() {
    greet();
    began_ = Clock::now();
    if (options_.total > 0) options_.warm_up = 0;
    measured_from_ = began_ + to_duration(options_.warm_up);
    ends_ = measured_from_ + to_duration(options_.seconds);
    for (std::size_t i = 0; i < connections_.size(); ++i) idle_.push_back(i);
    while (!over()) {
      begin_requests();
      wait();
    }
    ended_ = Clock::now();
    print();
  }

 private:
  static Clock::duration to_duration(double seconds) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }

  void open(std::size_t number) {
    Connection& connection = connections_[number];
    connection.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<std::uint16_t>(options_.port));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(connection.fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0)
      fail("no connection to port " + std::to_string(options_.port) + ": " + std::strerror(errno));
    const int on = 1;
    setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(connection.fd, F_SETFL, O_NONBLOCK);
    epoll_event wish{};
    wish.events = EPOLLIN | EPOLLOUT | EPOLLET;
    wish.data.u64 = number;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &wish);
  }

  void greet() {
    const Clock::time_point limit = Clock::now() + std::chrono::seconds(10);
    greeted_ = protocol_->greets() ? 0 : connections_.size();
    while (greeted_ < connections_.size()) {
      wait();
      if (Clock::now() > limit) fail("the server does not greet");
    }
  }

  bool over() const {
    if (options_.total > 0) return accepted_ + refused_ >= options_.total;
    return Clock::now() >= ends_;
  }

  void begin_requests() {
    const Clock::time_point now = Clock::now();
    while (!idle_.empty() && (options_.total == 0 || begun_ < options_.total)) {
      Clock::time_point due = now;
      if (options_.rate > 0)
        due = began_ + to_duration(static_cast<double>(begun_) / options_.rate);
      if (due > now) return;
      const std::size_t number = idle_.front();
      idle_.pop_front();
      Connection& connection = connections_[number];
      connection.since = due;
      connection.busy = true;
      connection.out += protocol_->request(static_cast<int>(number));
      ++begun_;
      send(connection);
    }
  }

  void wait() {
    epoll_event events[256];
    const int timeout_ms = options_.rate > 0 ? 1 : 100;
    const int count = epoll_wait(epoll_, events, 256, timeout_ms);
    for (int i = 0; i < count; ++i) {
      const std::size_t number = events[i].data.u64;
      if (events[i].events & EPOLLOUT) send(connections_[number]);
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(number);
    }
  }

  static void send(Connection& connection) {
    while (!connection.out.empty()) {
      const ssize_t sent =
          ::send(connection.fd, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) return;
      if (sent < 0) fail(std::string("send: ") + std::strerror(errno));
      connection.out.erase(0, static_cast<std::size_t>(sent));
    }
  }

  void receive(std::size_t number) {
    Connection& connection = connections_[number];
    char piece[16384];
    while (true) {
      const ssize_t count = recv(connection.fd, piece, sizeof piece, 0);
      if (count < 0 && errno == EAGAIN) break;
      if (count <= 0) fail("the server closed a connection");
      connection.in.append(piece, static_cast<std::size_t>(count));
      if (static_cast<std::size_t>(count) < sizeof piece) break;
    }
    while (!connection.in.empty()) {
      const Heard heard = protocol_->hear(connection.in, connection.out, static_cast<int>(number));
      send(connection);
      if (heard == Heard::Part) return;
      if (heard == Heard::Greeted) {
        ++greeted_;
        continue;
      }
      note(connection, heard);
      connection.busy = false;
      idle_.push_back(number);
    }
  }

  void note(const Connection& connection, Heard heard) {
    if (!connection.busy) fail("a reply that nobody asked for");
    const Clock::time_point now = Clock::now();
    if (connection.since < measured_from_ || (options_.total == 0 && now > ends_)) return;
    if (!measuring_) cpu_before_ = cpu_seconds();
    measuring_ = true;
    ++(heard == Heard::Accepted ? accepted_ : refused_);
    if (heard == Heard::Accepted)
      times_us_.push_back(std::chrono::duration<float, std::micro>(now - connection.since).count());
  }

  void print() {
    std::sort(times_us_.begin(), times_us_.end());
    const auto at = [&](double share) {
      if (times_us_.empty()) return 0.0;
      const auto last = static_cast<double>(times_us_.size() - 1);
      return times_us_[static_cast<std::size_t>(share * last + 0.5)] / 1e3;
    };
    const double seconds = std::chrono::duration<double>(ended_ - measured_from_).count();
    std::printf(
        "{\"accepted\":%llu,\"refused\":%llu,\"seconds\":%.4f,\"per_second\":%.1f,\"p50_ms\":%.4f,"
        "\"p90_ms\":%.4f,\"p99_ms\":%.4f,\"p999_ms\":%.4f,\"max_ms\":%.4f,\"client_cpu_share\":%."
        "3f}\n",
        static_cast<unsigned long long>(accepted_), static_cast<unsigned long long>(refused_),
        seconds, static_cast<double>(accepted_) / seconds, at(0.5), at(0.9), at(0.99), at(0.999),
        at(1), (cpu_seconds() - cpu_before_) / seconds);
  }

  Options options_;
  std::unique_ptr<Protocol> protocol_;
  int epoll_ = -1;
  std::vector<Connection> connections_;
  std::deque<std::size_t> idle_;
  std::size_t greeted_ = 0;
  std::uint64_t begun_ = 0, accepted_ = 0, refused_ = 0;
  bool measuring_ = false;
  double cpu_before_ = 0;
  std::vector<float> times_us_;
  Clock::time_point began_, measured_from_, ends_, ended_;
};

Options read_options(int count, char** words) {
  if (count < 3 || count % 2 == 0) fail("durable_client http|redis|nats PORT [--name value]…");
  Options options;
  options.protocol = words[1];
  options.port = std::atoi(words[2]);
  for (int i = 3; i < count; i += 2) {
    const std::string_view name = words[i];
    const char* value = words[i + 1];
    if (name == "--connections")
      options.connections = std::atoi(value);
    else if (name == "--seconds")
      options.seconds = std::atof(value);
    else if (name == "--warm-up")
      options.warm_up = std::atof(value);
    else if (name == "--total")
      options.total = std::strtoull(value, nullptr, 10);
    else if (name == "--bytes")
      options.bytes = std::atoi(value);
    else if (name == "--rate")
      options.rate = std::atof(value);
    else if (name == "--target")
      options.target = value;
    else
      fail("no such option: " + std::string(name));
  }
  if (options.target.empty()) fail("--target is missing");
  return options;
}

}  // namespace

int main(int count, char** words) {
  Load(read_options(count, words)).run();
  return 0;
}
