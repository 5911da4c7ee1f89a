#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "model/encoder.h"
#include "server/admission.h"
#include "server/batcher.h"
#include "server/call.h"
#include "server/devices.h"
#include "server/item_check.h"
#include "server/job_pool.h"
#include "server/metrics.h"
#include "server/mutex.h"
#include "server/result_cache.h"
#include "server/tracer.h"
#include "server/worker.h"

namespace vitower {

// What becomes of an Embed call once it is parsed, free of gRPC: checks, permit, preprocessing, batching, the forward
// pass, replies. Owns its threads and the encoders. Thread-safe.
class Pipeline final {
 public:
  struct Options {
    ItemLimits items;
    Admission::Limits admission;
    int64_t max_reply_bytes = 0;
    int64_t max_batch_patches = 0;
    std::chrono::microseconds max_batch_delay{0};
    std::chrono::nanoseconds device_stall_timeout{0};
    int64_t cache_bytes = 0;
    int preprocess_threads = 1;
  };
  struct Listeners {
    std::function<void(absl::Status)> on_warm;  // once for each encoder, on its worker's thread: how its warm-up went
    std::function<void(bool)> on_devices;       // whether any device works, when that may have changed
  };

  // REQUIRES: at least one encoder, all of one model.
  Pipeline(Options options, std::vector<std::unique_ptr<Encoder>> encoders, Metrics& metrics, Tracer& tracer,
           Clock& clock, const Listeners& listeners);
  ~Pipeline();  // finishes what is accepted: abort the calls first for a quick end. Blocks for a running pass.

  // Runs on the RPC thread and does not block. Takes the call, which then completes by itself, or refuses it whole; a
  // call refused for lack of room may be offered again.
  // `request_bytes` are held for it, with those of its reply and its decoded pictures, as long as `permit` lives.
  std::optional<Refusal> Accept(const std::shared_ptr<Call>& call, int64_t request_bytes, Permit& permit);

  // Room for bytes that come before they make a call: the parts of an item.
  std::variant<Permit, Refusal> Reserve(int64_t bytes) { return admission_.TryAcquire({0, 0, bytes}); }

  // Workers end once nothing is left; what is submitted later is answered with UNAVAILABLE. Idempotent.
  void Stop();

  // False: the end of the pipeline may have to wait for a pass that never ends.
  bool AllDevicesWork() { return devices_.AllWork(); }

  const EncoderInfo& info() const { return info_; }

 private:
  using Plans = std::vector<absl::StatusOr<ItemPlan>>;

  Plans Check(const Call& call) const;
  std::optional<Refusal> Admit(Call& call, const Plans& plans, int64_t request_bytes, Permit& permit);
  int64_t DecodedBytes(const Plans& plans) const;
  void Dispatch(const std::shared_ptr<Call>& call, Plans plans, const Permit& permit);
  void Preprocess(std::unique_ptr<Job> job);
  std::unique_ptr<Job> LookUp(std::unique_ptr<Job> job);
  void AnswerFromCache(std::unique_ptr<Job> job, const v1::Result& cached);
  void OnOrphans(Jobs jobs);
  void TracePreparation(const Job& job, TimePoint began_at);
  absl::Status Settle(Job& job, const GridThw& expected);
  void Reply(std::unique_ptr<Job> job);
  void Drop(std::unique_ptr<Job> job, Fault why);
  void DropLater(std::unique_ptr<Job> job, Fault why);
  Worker::Parts PartsFor(size_t index, const Listeners& listeners);
  void OnLost(size_t index, Jobs jobs, const absl::Status& why);
  void OnStuck(size_t index, Jobs jobs, const absl::Status& why);
  void PassOn(Devices::Loss loss, Jobs jobs, const absl::Status& why, bool again);
  void Lose(std::unique_ptr<Job> job, const absl::Status& why);

  const Options options_;
  const EncoderInfo info_;
  Metrics& metrics_;
  Tracer& tracer_;
  Clock& clock_;
  Admission admission_;
  std::optional<ResultCache> cache_;
  Mutex orphans_mu_;  // held while they are posted: nothing is posted to a stage that ends
  bool stopping_ ABSL_GUARDED_BY(orphans_mu_) = false;

  // Upstream last, so that each stage ends before the one it hands its jobs to.
  JobPool replies_;
  Batcher batcher_;
  Devices devices_;
  std::vector<std::unique_ptr<Worker>> workers_;
  JobPool preprocessing_;
};

}  // namespace vitower
