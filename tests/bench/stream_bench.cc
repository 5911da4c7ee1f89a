// What the wire costs: items of several sizes sent to puppet_server, whose tower takes no CPU, by one and by four
// connections, as calls and as streams. Prints a Markdown table. The client sends bytes made beforehand and does not
// look into the answers, so that the server is what is measured; its CPU time is that of its process.

#include <fcntl.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <deque>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "vitower/v1/vitower.pb.h"

extern char** environ;

namespace vitower {
namespace {

using Clock = std::chrono::steady_clock;
using RawStub = grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer>;

constexpr char kEmbed[] = "/vitower.v1.VisionEmbedder/Embed";
constexpr char kEmbedStream[] = "/vitower.v1.VisionEmbedder/EmbedStream";

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// puppet_server, in a process of its own beside this program.
class PuppetProcess final {
 public:
  explicit PuppetProcess(const std::string& program, std::vector<std::string> flags) {
    int out[2];
    if (pipe(out) != 0) return;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    flags.insert(flags.begin(), program);
    std::vector<char*> arguments;
    for (std::string& flag : flags) arguments.push_back(flag.data());
    arguments.push_back(nullptr);
    if (posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments.data(), environ) != 0) pid_ = 0;
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    if (FILE* lines = fdopen(out[0], "r")) {
      if (std::fscanf(lines, "listening on %d", &port_) != 1) port_ = 0;
      std::fclose(lines);
    }
  }
  ~PuppetProcess() {
    if (pid_ <= 0) return;
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }

  int port() const { return port_; }
  pid_t pid() const { return pid_; }

  // User and system time so far.
  double CpuSeconds() const {
    std::ifstream stat("/proc/" + std::to_string(pid_) + "/stat");
    std::string word;
    double ticks = 0;
    for (int field = 1; field <= 15 && stat >> word; ++field) {
      if (field == 14 || field == 15) ticks += std::stod(word);
    }
    return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  }

 private:
  pid_t pid_ = 0;
  int port_ = 0;
};

std::shared_ptr<grpc::Channel> NewChannel(int port) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), arguments);
}

// One load: `go_on` says whether another item is to be sent; every answered item is counted.
struct Load {
  grpc::Slice item;  // serialised
  size_t messages_per_answer = 1;
  Clock::time_point until;
  std::atomic<int64_t> answered{0};
  std::atomic<int64_t> failed{0};
  std::atomic<int64_t> bytes_down{0};

  bool go_on() const { return Clock::now() < until; }
};

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

// `prefix`, then `item` as a length-delimited field.
grpc::ByteBuffer Message(const std::string& prefix, const grpc::Slice& item) {
  const grpc::Slice slices[] = {grpc::Slice(prefix + Varint(item.size())), item};
  return {slices, 2};
}

// Keeps `window` items in flight on one stream.
class StreamClient final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  StreamClient(RawStub& stub, Load& load, int64_t window, int64_t most) : load_(load), window_(window), most_(most) {
    stub.PrepareBidiStreamingCall(&context_, kEmbedStream, {}, this);
    AddHold();  // for writes that OnReadDone starts
    StartCall();
    StartRead(&incoming_);
    Write();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    load_.bytes_down += static_cast<int64_t>(incoming_.Length());
    bool whole = false;
    {
      std::lock_guard lock(mu_);
      whole = ++messages_ % load_.messages_per_answer == 0;
      if (whole) --in_flight_;
    }
    if (whole) ++load_.answered;
    StartRead(&incoming_);
    Write();
  }
  void OnWriteDone(bool ok) override {
    {
      std::lock_guard lock(mu_);
      writing_ = false;
      closed_ = closed_ || !ok;
    }
    Write();
  }
  void OnDone(const grpc::Status& status) override {
    if (!status.ok()) std::fprintf(stderr, "stream: %s\n", status.error_message().c_str());
    done_.store(true);
    done_.notify_all();
  }
  void Await() { done_.wait(false); }
  int64_t messages() const { return messages_; }

 private:
  void Write() {
    bool close = false;
    {
      std::lock_guard lock(mu_);
      if (writing_ || closed_ || in_flight_ >= window_) return;
      if (written_ >= most_ || !load_.go_on()) {
        closed_ = close = true;
      } else {
        outgoing_ = Message("\x08" + Varint(++written_) + "\x12", load_.item);
        ++in_flight_;
        writing_ = true;
      }
    }
    if (!close) return StartWrite(&outgoing_);
    StartWritesDone();
    RemoveHold();
  }

  Load& load_;
  const int64_t window_;
  const int64_t most_;
  grpc::ClientContext context_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
  std::atomic<bool> done_{false};
  std::mutex mu_;
  bool writing_ = false;
  bool closed_ = false;
  int64_t written_ = 0;
  int64_t in_flight_ = 0;
  int64_t messages_ = 0;
};

// One chain of Embed calls of one item each, one after the other.
class UnaryChain final {
 public:
  UnaryChain(RawStub& stub, Load& load) : stub_(stub), load_(load), request_(Message("\x0a", load.item)) { Next(); }
  void Await() { done_.wait(false); }

 private:
  void Next() {
    if (!load_.go_on()) {
      done_.store(true);
      done_.notify_all();
      return;
    }
    context_ = std::make_unique<grpc::ClientContext>();
    stub_.UnaryCall(context_.get(), kEmbed, {}, &request_, &reply_, [this](const grpc::Status& status) {
      load_.bytes_down += static_cast<int64_t>(reply_.Length());
      ++(status.ok() ? load_.answered : load_.failed);
      Next();
    });
  }

  RawStub& stub_;
  Load& load_;
  const grpc::ByteBuffer request_;
  grpc::ByteBuffer reply_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::atomic<bool> done_{false};
};

struct Mode {
  const char* name;
  int connections;
  bool stream;
};

constexpr Mode kModes[] = {{"calls, 1 connection", 1, false},
                           {"1 stream", 1, true},
                           {"calls, 4 connections", 4, false},
                           {"4 streams, 4 connections", 4, true}};

struct Payload {
  std::string name;
  v1::Item item;
};

Payload Rgb(uint32_t height, uint32_t width, bool tokens) {
  Payload payload{"rgb " + std::to_string(width) + "x" + std::to_string(height), {}};
  v1::RawRgb& rgb = *payload.item.mutable_rgb();
  rgb.set_height(height);
  rgb.set_width(width);
  rgb.set_data(std::string(size_t{3} * height * width, 'p'));
  payload.item.mutable_preprocessing()->set_do_resize(false);
  (tokens ? payload.item.mutable_outputs()->set_tokens(true) : payload.item.mutable_outputs()->set_pooled(true));
  payload.name += tokens ? ", tokens back" : ", pooled back";
  return payload;
}

Payload Patches(uint32_t h, uint32_t w) {
  Payload payload{"patches bf16 " + std::to_string(h) + "x" + std::to_string(w) + ", pooled back", {}};
  v1::PatchRows& patches = *payload.item.mutable_patches();
  patches.set_dtype(v1::DTYPE_BF16);
  patches.set_data(std::string(size_t{h} * w * 1536 * 2, '\0'));
  patches.mutable_grid_thw()->set_t(1);
  patches.mutable_grid_thw()->set_h(h);
  patches.mutable_grid_thw()->set_w(w);
  payload.item.mutable_outputs()->set_pooled(true);
  return payload;
}

struct Measured {
  double items_per_second = 0;
  double bytes_per_second = 0;
  double bytes_up = 0;  // of an item
  double bytes_down = 0;
  double server_cpu_per_item = 0;
  double client_cpu_per_item = 0;
  int64_t failed = 0;
};

double OwnCpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

void RunLoad(const std::vector<std::unique_ptr<RawStub>>& stubs, bool stream, int in_flight, Load& load) {
  const int each = in_flight / static_cast<int>(stubs.size());
  std::vector<std::unique_ptr<StreamClient>> streams;
  std::deque<UnaryChain> chains;
  for (const auto& stub : stubs) {
    if (stream) streams.push_back(std::make_unique<StreamClient>(*stub, load, each, INT64_MAX));
    for (int i = 0; !stream && i < each; ++i) chains.emplace_back(*stub, load);
  }
  for (auto& one : streams) one->Await();
  for (UnaryChain& chain : chains) chain.Await();
}

Measured Measure(const PuppetProcess& server, const Payload& payload, const Mode& mode, int in_flight, double seconds) {
  Load load;
  load.item = grpc::Slice(payload.item.SerializeAsString());
  std::vector<std::unique_ptr<RawStub>> stubs;
  for (int i = 0; i < mode.connections; ++i) stubs.push_back(std::make_unique<RawStub>(NewChannel(server.port())));
  load.until = Clock::now() + std::chrono::minutes(1);
  StreamClient first(*stubs[0], load, 1, 1);  // tells how many messages an answer takes
  first.Await();
  load.messages_per_answer = static_cast<size_t>(first.messages());
  load.until = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds / 4));
  RunLoad(stubs, mode.stream, in_flight, load);
  load.answered = load.failed = load.bytes_down = 0;
  const double server_before = server.CpuSeconds();
  const double own_before = OwnCpuSeconds();
  const auto begun_at = Clock::now();
  load.until = begun_at + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  RunLoad(stubs, mode.stream, in_flight, load);
  const double took = Seconds(Clock::now() - begun_at);
  const auto items = static_cast<double>(std::max<int64_t>(1, load.answered));
  Measured measured;
  measured.items_per_second = items / took;
  measured.bytes_up = static_cast<double>(load.item.size());
  measured.bytes_down = static_cast<double>(load.bytes_down) / items;
  measured.bytes_per_second = (measured.bytes_up + measured.bytes_down) * measured.items_per_second;
  measured.server_cpu_per_item = (server.CpuSeconds() - server_before) / items;
  measured.client_cpu_per_item = (OwnCpuSeconds() - own_before) / items;
  measured.failed = load.failed;
  return measured;
}

void PrintRow(const Payload& payload, const Mode& mode, const Measured& m) {
  const double bytes = m.bytes_up + m.bytes_down;
  std::printf("| %s | %.0f | %.0f | %s | %.0f | %.0f | %.0f | %.3f | %.3f |%s\n", payload.name.c_str(),
              m.bytes_up / 1e3, m.bytes_down / 1e3, mode.name, m.items_per_second, m.bytes_per_second / 1e6,
              m.server_cpu_per_item * 1e6, m.server_cpu_per_item * 1e9 / bytes, m.client_cpu_per_item * 1e9 / bytes,
              m.failed > 0 ? (" " + std::to_string(m.failed) + " FAILED").c_str() : "");
  std::fflush(stdout);
}

std::string Beside(const std::string& program) {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  const std::string self(path, size > 0 ? static_cast<size_t>(size) : 0);
  return self.substr(0, self.rfind('/') + 1) + program;
}

int Run(double seconds, int in_flight, const std::string& only) {
  const PuppetProcess server(Beside("puppet_server"),
                             {"--device-us-per-patch", "0.05", "--device-min-us", "200", "--max-batch-patches", "8192",
                              "--max-queue-patches", "1000000", "--max-inflight-bytes", "4000000000"});
  if (server.port() == 0) {
    std::fprintf(stderr, "stream_bench: puppet_server did not start\n");
    return 1;
  }
  const Payload payloads[] = {Rgb(128, 160, false),   Rgb(128, 160, true),   Patches(4, 6),
                              Rgb(448, 448, false),   Rgb(448, 448, true),   Patches(14, 14),
                              Rgb(1152, 1152, false), Rgb(1152, 1152, true), Patches(36, 36)};
  std::printf(
      "| item | kB up | kB down | way | items/s | MB/s, both ways | server CPU us/item | server CPU ns/byte | "
      "client CPU ns/byte |\n|---|---|---|---|---|---|---|---|---|\n");
  for (const Payload& payload : payloads) {
    for (const Mode& mode : kModes) {
      if ((payload.name + ", " + mode.name).find(only) == std::string::npos) continue;
      const Measured measured = Measure(server, payload, mode, in_flight, seconds);
      PrintRow(payload, mode, measured);
      if (measured.failed > 0) return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace vitower

int main(int argc, char** argv) {
  CLI::App app("What the wire costs");
  double seconds = 2;
  int in_flight = 64;
  std::string only;
  app.add_option("--seconds", seconds, "of each row")->capture_default_str();
  app.add_option("--in-flight", in_flight, "items, over all connections")->check(CLI::Range(4, 10'000));
  app.add_option("--only", only, "rows whose name holds this");
  CLI11_PARSE(app, argc, argv);
  return vitower::Run(seconds, in_flight, only);
}
