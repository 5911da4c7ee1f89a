#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/bench_lane.h"
#include "cli/bench_mix.h"
#include "cli/bench_payloads.h"
#include "cli/bench_recorder.h"
#include "cli/bench_report.h"
#include "cli/command.h"
#include "cli/connection_flags.h"
#include "cli/embedding.h"
#include "cli/format.h"
#include "cli/parse.h"
#include "cli/stop_signals.h"

namespace vitower {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;
using TimePoint = steady_clock::time_point;

constexpr char kBenchExamples[] =
    "  vitower bench --server localhost:50051\n"
    "  vitower bench --server localhost:50051 --concurrency 32 --mix jpeg:224x224=3,jpeg:448x448 --duration 60s\n"
    "  vitower bench --server localhost:50051 --rate 200 --mix raw:1280x704 --no-resize --output bench.json\n"
    "  vitower bench --server a:50051 --server b:50051 --stream --mix jpeg:448x448=9,clip:640x360x48=1\n"
    "\n"
    "Closed loop (--concurrency): each answer lets the next item go, so a slow server is asked less. It shows\n"
    "throughput and the latency at that many in flight. Open loop (--rate): items go at random times whatever the\n"
    "server does, as from many independent clients, and latency counts from when an item was to go. It shows what\n"
    "users would see, and what happens above the capacity. Payloads are made before the clock starts; with as few as\n"
    "--distinct a server with a cache answers from it.";

class Bench final : public Command {
 public:
  explicit Bench(CLI::App& root)
      : Command(root, "bench", "Load servers with made-up images and clips and report throughput and latency.",
                kBenchExamples) {
    AddLoadOptions();
    AddItemOptions();
    AddReportOptions();
  }

 private:
  void AddLoadOptions() {
    options().Add({"server", "HOST:PORT", "",
                   "what to load; required. May be given several times (or with blanks between): each gets an equal "
                   "share of the load"},
                  IntoText(&connection_.server));
    app().get_option("--server")->join(' ');
    AddTlsFlags(options(), &connection_);
    AddTokenFlags(options(), &connection_);
    options().Add({"concurrency", "N", "8", "closed loop: items in flight, over all servers"},
                  Into(&concurrency_, ParseInt, /*min=*/1, /*max=*/65536));
    options().Add({"rate", "N", "", "open loop: items a second over all servers, at random (Poisson) times"},
                  Into(&rate_, ParseNumber));
    options().Add({"max-in-flight", "N", "4096", "open loop: above so many in flight items wait here"},
                  Into(&max_in_flight_, ParseInt, /*min=*/1, /*max=*/1 << 20));
    options().AddSwitch("stream", "one stream a server in place of a call an item", &stream_);
    options().Add({"duration", "TIME", "10s", "measured time"}, Into(&duration_, ParseDuration));
    options().Add({"warm-up", "TIME", "2s", "load before the measured time"}, Into(&warm_up_, ParseDuration));
    options().Add({"timeout", "TIME", "60s", "of an item, from when it was to go"}, Into(&timeout_, ParseDuration));
    options().Add({"attempts", "N", "1", "how often an item is sent at most where servers are UNAVAILABLE"},
                  Into(&attempts_, ParseInt, /*min=*/1, /*max=*/5));
    options().Add({"seed", "N", "1", "of contents, their order and the times of the open loop"},
                  Into(&seed_, ParseInt));
  }

  void AddItemOptions() {
    options().Add({"mix", "LIST", "jpeg:224x224",
                   "what is sent: KIND:WIDTHxHEIGHT[xFRAMES][=SHARE], separated by commas; KIND is jpeg, png, raw, "
                   "patches or clip (which needs FRAMES)"},
                  Into(&mix_, ParseMix));
    options().Add({"distinct", "N", "16", "different contents of each part of the mix"},
                  Into(&payloads_.distinct, ParseInt, /*min=*/1, /*max=*/100'000));
    options().Add({"jpeg-quality", "N", "90", "of jpeg items"},
                  Into(&payloads_.jpeg_quality, ParseInt, /*min=*/1, /*max=*/100));
    options().Add({"outputs", "LIST", "tokens,deepstack", "what to ask for, as of vitower embed"},
                  Into(&choices_.outputs, ParseOutputs));
    options().Add({"dtype", "DTYPE", "", "bf16, fp16 or fp32 (default: the tower's own)"},
                  Into(&choices_.dtype, ParseDType));
    AddImageFlags(options(), &choices_.image);
    AddClipFlags(options(), &choices_.clip);
  }

  void AddReportOptions() {
    options().Add({"output", "FILE", "", "write the report there too, as JSON; - for standard output in its place"},
                  IntoText(&output_));
    options().AddSwitch("quiet", "no progress line", &quiet_);
  }

  ExitCode Execute() override {
    StopSignals signals;
    if (absl::Status status = CheckOptions(); !status.ok())
      return Fail(ExitCode::kUsage, std::string(status.message()));
    if (absl::Status status = MakeClients(); !status.ok()) return Fail(ExitCode::kUsage, std::string(status.message()));
    if (absl::Status status = AskForModel(); !status.ok()) return Fail(status);
    const absl::StatusOr<std::vector<uint32_t>> levels =
        WantedLevels(choices_.outputs, {served_.name, served_.fingerprint, served_.deepstack_visual_indexes.size()});
    if (!levels.ok()) return Fail(ExitCode::kUsage, std::string(levels.status().message()));
    payloads_.seed = static_cast<uint64_t>(seed_);
    if (!quiet_) std::fprintf(stderr, "making %lld payloads\n", static_cast<long long>(PayloadCount()));
    const auto payloads = MakePayloads(mix_, choices_, *levels, payloads_);
    if (!payloads.ok())
      return Fail(ExitCode::kUsage, absl::StrCat("--mix: ", std::string(payloads.status().message())));
    BenchTotals totals = Load(*payloads, signals);
    return Report(totals);
  }

  int64_t PayloadCount() const { return payloads_.distinct * static_cast<int64_t>(mix_.size()); }

  absl::Status CheckOptions() {
    addresses_ = absl::StrSplit(connection_.server, ' ', absl::SkipEmpty());
    if (addresses_.empty()) return absl::InvalidArgumentError("--server is required: HOST:PORT of what to load");
    if (rate_ && *rate_ <= 0) return absl::InvalidArgumentError("--rate must be above 0");
    if (rate_ && options().source("concurrency") == OptionSource::kCommandLine) {
      return absl::InvalidArgumentError("--rate and --concurrency contradict each other: give one of them");
    }
    if (!rate_ && concurrency_ < ServerCount()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--concurrency ", concurrency_, " is less than one for each of ", ServerCount(), " servers"));
    }
    if (duration_.count() == 0) return absl::InvalidArgumentError("--duration must be above 0");
    return CheckClipFlags(choices_.clip);
  }

  int64_t ServerCount() const { return static_cast<int64_t>(addresses_.size()); }

  absl::Status MakeClients() {
    absl::StatusOr<ClientOptions> wanted = ToClientOptions(connection_);
    if (!wanted.ok()) return wanted.status();
    wanted->attempts = static_cast<int>(attempts_);
    for (const std::string& address : addresses_) {
      wanted->server = address;
      absl::StatusOr<std::unique_ptr<Client>> client = MakeClient(*wanted);
      if (!client.ok()) return client.status();
      clients_.push_back(*std::move(client));
    }
    return absl::OkStatus();
  }

  absl::Status AskForModel() {
    for (size_t i = 0; i < clients_.size(); ++i) {
      absl::StatusOr<ServedModel> served = clients_[i]->GetModelInfo(system_clock::now() + std::chrono::seconds(10));
      if (!served.ok()) {
        return absl::Status(served.status().code(),
                            absl::StrCat("--server ", addresses_[i], ": ", std::string(served.status().message())));
      }
      served_ = *std::move(served);
    }
    return absl::OkStatus();
  }

  StreamOptions StreamOptionsOf(int64_t in_flight) const {
    StreamOptions stream;
    stream.max_items = in_flight;
    stream.attempts = static_cast<int>(attempts_);
    if (served_.stream_chunk_bytes > 0) stream.chunk_bytes = served_.stream_chunk_bytes;
    return stream;
  }

  LoadGate::Options GateOptions(int64_t lane, TimePoint start) const {
    LoadGate::Options gate;
    const int64_t total = rate_ ? max_in_flight_ : concurrency_;
    gate.max_in_flight = std::max<int64_t>(total / ServerCount() + (lane < total % ServerCount() ? 1 : 0), 1);
    if (rate_) gate.rate = *rate_ / static_cast<double>(ServerCount());
    gate.seed = static_cast<uint64_t>(seed_ + lane);
    gate.begin = start;
    gate.end = start + warm_up_ + duration_;
    return gate;
  }

  BenchTotals Load(const std::vector<std::vector<BenchPayload>>& payloads, StopSignals& signals) {
    const TimePoint start = steady_clock::now();
    BenchRecorder recorder(mix_.size(), start, start + warm_up_, start + warm_up_ + duration_);
    std::vector<std::shared_ptr<LoadGate>> gates;  // the signal's handler may outlive the run
    std::vector<std::unique_ptr<PayloadPicker>> pickers;
    std::vector<std::unique_ptr<BenchLane>> lanes;
    for (int64_t i = 0; i < ServerCount(); ++i) {
      const LoadGate::Options gate = GateOptions(i, start);
      gates.push_back(std::make_shared<LoadGate>(gate));
      pickers.push_back(std::make_unique<PayloadPicker>(mix_, payloads, gate.seed));
      const LaneParts parts{*clients_[static_cast<size_t>(i)],  *gates.back(), *pickers.back(), recorder, timeout_,
                            StreamOptionsOf(gate.max_in_flight)};
      lanes.push_back((stream_ ? MakeStreamLane : MakeUnaryLane)(parts));
    }
    signals.OnFirst([gates] {
      for (const auto& gate : gates) gate->Stop();
    });
    {
      const std::jthread progress([&](const std::stop_token& stop) { ShowProgress(stop, recorder, start); });
      std::vector<std::jthread> threads;
      for (const auto& lane : lanes) threads.emplace_back([&lane] { lane->Run(); });
    }
    signals.OnFirst(nullptr);
    return recorder.Take(steady_clock::now());
  }

  // A line that is drawn anew, on a terminal only.
  void ShowProgress(const std::stop_token& stop, const BenchRecorder& recorder, TimePoint start) const {
    if (quiet_ || isatty(STDERR_FILENO) != 1) return;
    int64_t before = 0;
    for (TimePoint next = start; !stop.stop_requested();) {
      next += std::chrono::milliseconds(200);
      std::this_thread::sleep_until(next);
      const BenchRecorder::Progress now = recorder.progress();
      const double seconds = std::chrono::duration<double>(next - start).count();
      std::fprintf(stderr, "\r%-8s %6.1f s of %s  %lld items  %.0f items/s  %lld errors \x1b[K",
                   next - start < warm_up_ ? "warm-up" : "measured", seconds,
                   FormatDuration(warm_up_ + duration_).c_str(), static_cast<long long>(now.items),
                   static_cast<double>(now.items - before) / 0.2, static_cast<long long>(now.errors));
      before = now.items;
    }
    std::fputs("\r\x1b[K", stderr);
  }

  ExitCode Report(BenchTotals& totals) const {
    const BenchSetting setting = {addresses_, mix_, LoadText()};
    const bool any = totals.latency.count() > 0;
    if (output_ != "-") std::fputs(BenchText(setting, totals).c_str(), stdout);
    if (output_ == "-") std::fputs(BenchJson(setting, totals).c_str(), stdout);
    if (!output_.empty() && output_ != "-") {
      std::ofstream file(output_);
      file << BenchJson(setting, totals);
      file.close();
      if (!file) return Fail(ExitCode::kFailure, absl::StrCat("cannot write --output ", output_));
    }
    return any ? ExitCode::kOk : Fail(ExitCode::kFailure, "no item was answered");
  }

  std::string LoadText() const {
    const char* calls = stream_ ? "stream" : "unary";
    if (rate_) return absl::StrFormat("open loop, %g items/s, %s", *rate_, calls);
    return absl::StrFormat("closed loop, %d in flight, %s", concurrency_, calls);
  }

  ConnectionFlags connection_;
  std::vector<std::string> addresses_;
  int64_t concurrency_ = 0;
  std::optional<double> rate_;
  int64_t max_in_flight_ = 0;
  bool stream_ = false;
  microseconds duration_{};
  microseconds warm_up_{};
  microseconds timeout_{};
  int64_t attempts_ = 1;
  int64_t seed_ = 1;
  std::vector<MixPart> mix_;
  PayloadOptions payloads_;
  EmbedChoices choices_;
  std::string output_;
  bool quiet_ = false;

  ServedModel served_;
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace

std::unique_ptr<Command> MakeBench(CLI::App& root) { return std::make_unique<Bench>(root); }

}  // namespace vitower
