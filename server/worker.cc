#include "server/worker.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "server/job_pool.h"
#include "server/log.h"
#include "server/reply.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

using std::chrono::nanoseconds;

nanoseconds Sum(const ForwardTimes& times) {
  return times.upload + times.patch_embed + times.position + times.blocks + times.merger + times.download;
}

// What `step` returns. What it throws is its own fault, like an error that it returns.
template <typename Step>
auto Guarded(std::string_view name, const Step& step) -> decltype(step()) {
  try {
    return step();
  } catch (const std::exception& error) {
    return MakeStatus(Fault::kInternal, Cat(name, " threw: ", error.what()));
  } catch (...) {
    return MakeStatus(Fault::kInternal, Cat(name, " threw something unknown"));
  }
}

// The tokens are needed for their means as well; an output is computed when any item wants it.
OutputSet Union(const std::vector<std::unique_ptr<Job>>& jobs, size_t levels) {
  OutputSet wanted;
  wanted.tokens = false;
  wanted.deepstack.assign(levels, false);
  for (const std::unique_ptr<Job>& job : jobs) {
    wanted.tokens = wanted.tokens || job->plan.outputs.tokens || job->plan.pooled || job->plan.pooled_slices;
    for (size_t i = 0; i < levels; ++i) wanted.deepstack[i] = wanted.deepstack[i] || job->plan.outputs.deepstack[i];
  }
  return wanted;
}

void SetDeviceTimes(const ForwardTimes& times, StageTimes& spent) {
  spent.Set(Stage::kUpload, times.upload);
  spent.Set(Stage::kPatchEmbed, times.patch_embed);
  spent.Set(Stage::kPosition, times.position);
  spent.Set(Stage::kBlocks, times.blocks);
  spent.Set(Stage::kMerger, times.merger);
  spent.Set(Stage::kDownload, times.download);
}

Frames GrayFrames(const TowerConfig& tower, int64_t grid_h, int64_t grid_w) {
  Frames frames;
  frames.frame_count = 1;
  frames.grid = GridThw{1, grid_h, grid_w};
  frames.height = grid_h * tower.patch_size;
  frames.width = grid_w * tower.patch_size;
  frames.rgb = std::vector<uint8_t>(static_cast<size_t>(frames.height * frames.width * 3), 128);
  return frames;
}

absl::Status WarmUp(Encoder& encoder, int64_t budget_patches) {
  const std::vector<Frames> frames = WarmUpFrames(encoder.info().tower, budget_patches);
  std::vector<TowerInput> items;
  for (const Frames& one : frames) items.emplace_back(&one);
  OutputSet wanted;
  wanted.deepstack.assign(encoder.info().tower.deepstack_visual_indexes.size(), true);
  return encoder.Forward(items, wanted).status();
}

}  // namespace

std::vector<Frames> WarmUpFrames(const TowerConfig& tower, int64_t budget_patches) {
  constexpr int64_t kSide = 16;  // 256 patches, a common picture
  const int64_t merge = tower.spatial_merge_size;
  std::vector<Frames> frames;
  for (int64_t room = budget_patches; room >= kSide * kSide; room -= kSide * kSide) {
    frames.push_back(GrayFrames(tower, kSide, kSide));
  }
  const int64_t rest = budget_patches % (kSide * kSide) / (merge * merge);
  if (rest > 0) frames.push_back(GrayFrames(tower, merge, rest * merge));
  return frames;
}

Worker::Worker(std::unique_ptr<Encoder> encoder, Parts parts)
    : encoder_(std::move(encoder)), parts_(std::move(parts)), thread_([this] { Run(); }) {}

void Worker::Run() {
  const std::string device = encoder_->info().device;
  NameThisThread("worker " + device);
  const absl::Status warm = Guarded("the warm-up", [this] { return WarmUp(*encoder_, parts_.budget_patches); });
  parts_.metrics.SetDeviceUp(device, warm.ok());
  parts_.on_warm(warm);
  while (true) {
    std::vector<std::unique_ptr<Job>> jobs = parts_.batcher.Pull(parts_.budget_patches);
    if (jobs.empty()) break;
    const absl::Status ran = Guarded("a batch", [&] {
      RunBatch(std::move(jobs));
      return absl::OkStatus();
    });
    if (!ran.ok()) Log(LogLevel::kError, Cat("items were given up: ", std::string(ran.message())));
  }
  parts_.metrics.SetDeviceUp(device, false);
}

void Worker::RunBatch(std::vector<std::unique_ptr<Job>> jobs) {
  absl::StatusOr<std::shared_ptr<const ForwardResult>> forward = Forward(jobs);
  parts_.metrics.SetDeviceUp(encoder_->info().device, forward.ok());
  if (!forward.ok()) return FailAll(std::move(jobs), forward.status());
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i]->forward = *forward;
    jobs[i]->batch_index = i;
    SetDeviceTimes((*forward)->batch.times, jobs[i]->times);
    jobs[i]->input = Frames();
    parts_.on_done(std::move(jobs[i]));
  }
}

absl::StatusOr<std::shared_ptr<const ForwardResult>> Worker::Forward(const std::vector<std::unique_ptr<Job>>& jobs) {
  auto result = std::make_shared<ForwardResult>();
  result->computed = Union(jobs, encoder_->info().tower.deepstack_visual_indexes.size());
  std::vector<TowerInput> inputs;
  for (const std::unique_ptr<Job>& job : jobs) {
    inputs.push_back(job->tower_input());
    result->patches += job->patches();
  }
  result->items = static_cast<int64_t>(jobs.size());
  const TimePoint started_at = parts_.clock.Now();
  for (const std::unique_ptr<Job>& job : jobs) job->times.Set(Stage::kQueue, started_at - job->ready_at);
  absl::StatusOr<EncodedBatch> batch =
      Guarded("the encoder", [&] { return encoder_->Forward(inputs, result->computed); });
  parts_.metrics.AddDeviceBusy(encoder_->info().device, parts_.clock.Now() - started_at);
  if (!batch.ok()) return batch.status();
  result->batch = *std::move(batch);
  result->downloaded_at = started_at + Sum(result->batch.times);
  if (absl::Status fits = CheckForward(*result, jobs, encoder_->info()); !fits.ok()) return fits;
  parts_.metrics.ObserveBatch(result->batch.times, result->items, result->patches, parts_.budget_patches);
  parts_.metrics.CountEncoded(result->patches, result->batch.token_offsets.back());
  return result;
}

void Worker::FailAll(std::vector<std::unique_ptr<Job>> jobs, const absl::Status& why) {
  for (std::unique_ptr<Job>& job : jobs) {
    const std::string& request_id = job->call().start().request_id;
    Log(LogLevel::kWarning, Cat("a batch of ", jobs.size(), " items failed: ", std::string(why.message())), request_id);
    const std::string message = Cat("the forward pass failed; the server's log says why for request id ", request_id);
    Fail(std::move(job), MakeStatus(Fault::kInternal, message), parts_.clock.Now());
  }
}

}  // namespace vitower
