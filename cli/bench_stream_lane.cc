#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "cli/bench_lane.h"
#include "server/mutex.h"

namespace vitower {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;
using TimePoint = LoadGate::TimePoint;

constexpr std::chrono::milliseconds kPauseAfterBreak{50};

struct Sent {
  const BenchPayload* payload = nullptr;
  TimePoint begun;
};

// What one stream has in flight. Thread-safe.
class InFlight final {
 public:
  // False where the stream has ended.
  bool Enter(uint64_t key, Sent sent) {
    MutexLock lock(mu_);
    if (ended_) return false;
    sent_[key] = sent;
    return true;
  }

  // Nothing where `key` is not in flight.
  std::optional<Sent> Leave(uint64_t key) {
    MutexLock lock(mu_);
    const auto found = sent_.find(key);
    if (found == sent_.end()) return std::nullopt;
    const Sent sent = found->second;
    sent_.erase(found);
    return sent;
  }

  // What is left of a stream that has ended.
  std::map<uint64_t, Sent> End() {
    MutexLock lock(mu_);
    ended_ = true;
    return std::exchange(sent_, {});
  }

  // When the first of them went, now where there are none.
  TimePoint Oldest() const {
    MutexLock lock(mu_);
    return sent_.empty() ? steady_clock::now() : sent_.begin()->second.begun;
  }

 private:
  mutable Mutex mu_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  std::map<uint64_t, Sent> sent_ ABSL_GUARDED_BY(mu_);
};

class StreamLane final : public BenchLane {
 public:
  explicit StreamLane(const LaneParts& parts) : parts_(parts) {}

  void Run() override {
    while (!over_) {
      RunStream();
      if (!over_) std::this_thread::sleep_for(kPauseAfterBreak);
    }
  }

 private:
  // One stream, from its opening until all of it is recorded.
  void RunStream() {
    const std::unique_ptr<EmbedStream> stream = parts_.client.OpenStream(parts_.stream);
    InFlight in_flight;
    std::jthread reader([&] {
      const absl::Status end = ReadAll(*stream, in_flight);
      for (const auto& [key, sent] : in_flight.End()) parts_.Record(OutcomeOf(*sent.payload, sent.begun, end));
    });
    SendAll(*stream, in_flight);
  }

  void SendAll(EmbedStream& stream, InFlight& in_flight) {
    while (const std::optional<Sent> next = Next()) {
      if (!in_flight.Enter(next_key_, *next)) {
        unsent_ = next;
        return;
      }
      if (!stream.Write(next_key_++, next->payload->item).ok()) return;
    }
    over_ = true;
    stream.WritesDone();
  }

  // What an ended stream did not take goes first.
  std::optional<Sent> Next() {
    if (unsent_) return std::exchange(unsent_, std::nullopt);
    const std::optional<TimePoint> begun = parts_.gate.Next();
    return begun ? std::optional<Sent>({&parts_.payloads.Next(), *begun}) : std::nullopt;
  }

  // Why the stream ended.
  absl::Status ReadAll(EmbedStream& stream, InFlight& in_flight) {
    while (true) {
      const absl::StatusOr<std::optional<StreamAnswer>> answer = stream.Read(NextDeadline(in_flight));
      if (answer.ok() && !*answer) return absl::OkStatus();
      if (answer.ok()) {
        Take(**answer, in_flight);
        continue;
      }
      const bool timed_out = answer.status().code() == absl::StatusCode::kDeadlineExceeded;
      if (timed_out && steady_clock::now() < in_flight.Oldest() + parts_.timeout) continue;
      stream.Cancel();
      return answer.status();
    }
  }

  void Take(const StreamAnswer& answer, InFlight& in_flight) {
    if (const auto sent = in_flight.Leave(answer.key))
      parts_.Record(OutcomeOf(*sent->payload, sent->begun, answer.result));
  }

  system_clock::time_point NextDeadline(const InFlight& in_flight) const {
    const auto left = in_flight.Oldest() + parts_.timeout - steady_clock::now();
    return system_clock::now() + std::chrono::duration_cast<std::chrono::microseconds>(left);
  }

  const LaneParts parts_;
  uint64_t next_key_ = 0;
  std::optional<Sent> unsent_;
  bool over_ = false;
};

}  // namespace

std::unique_ptr<BenchLane> MakeStreamLane(const LaneParts& parts) { return std::make_unique<StreamLane>(parts); }

}  // namespace vitower
