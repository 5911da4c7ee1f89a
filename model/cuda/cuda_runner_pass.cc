#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_check.h"
#include "model/cuda/cuda_runner.h"
#include "model/cuda/patience.h"
#include "model/parallel.h"

namespace vitower {
namespace {

constexpr size_t kFewBytes = 2 << 20;  // that one thread stages as fast as several
constexpr int kStagingThreads = 6;
constexpr std::chrono::nanoseconds kPatience = std::chrono::minutes(1);
constexpr std::chrono::nanoseconds kPatiencePerPatch = std::chrono::milliseconds(1);

std::chrono::nanoseconds Sum(const ForwardTimes& times) {
  return times.upload + times.patch_embed + times.position + times.blocks + times.merger + times.download;
}

}  // namespace

// Into the pinned block, by several threads where that pays, and to the device. The plan goes with it.
void CudaRunner::Stage(absl::Span<const TowerInput> items, const Pass& pass) {
  PassSlot& slot = *pass.slot;
  const auto bytes = static_cast<size_t>(pass.plan->upload_bytes);
  slot.uploaded.Reserve(pass.meta.bytes + bytes);
  slot.staging.Reserve(pass.meta.bytes + bytes);
  std::byte* block = slot.staging.data() + pass.meta.bytes;
  WriteMeta(*pass.plan, pass.meta, slot.staging.data());
  ParallelFor(bytes < kFewBytes ? 1 : kStagingThreads, static_cast<int64_t>(items.size()), [&](int64_t i) {
    const auto source = BytesOf(items[i]);
    std::memcpy(block + pass.plan->items[i].offset, source.data(), source.size());
  });
  CheckCuda(cudaMemcpyAsync(slot.uploaded.data(), slot.staging.data(), pass.meta.bytes + bytes, cudaMemcpyHostToDevice,
                            streams_.upload),
            "upload");
  slot.arrived.Record(streams_.upload);
}

void CudaRunner::Embed(const Pass& pass) {
  const auto used = pass.plan->patches();
  const auto hidden = info_.tower.hidden_size;
  StageMarks& marks = pass.slot->marks;
  const auto* uploaded = static_cast<const uint8_t*>(pass.slot->uploaded.data());
  pass.slot->arrived.HoldBack(streams_.compute);
  CheckCuda(cudaMemcpyAsync(const_cast<std::byte*>(pass.memory->meta()), uploaded, pass.meta.bytes,
                            cudaMemcpyDeviceToDevice, streams_.compute),
            "plan");
  passes_.Patchify(pass, uploaded + pass.meta.bytes);
  marks.Mark(&ForwardTimes::upload, streams_.compute);
  Observe("pixel_values", pass.memory->hidden(), used, info_.tower.patch_dim());
  passes_.PatchEmbed(pass);
  marks.Mark(&ForwardTimes::patch_embed, streams_.compute);
  Observe("patch_embed", pass.memory->x(), used, hidden);
  passes_.Position(pass);
  marks.Mark(&ForwardTimes::position, streams_.compute);
  Observe("position", pass.memory->x(), used, hidden);
}

void CudaRunner::EnqueuePiece(const Pass& pass, const Piece& piece) const {
  if (piece.kind == Piece::Kind::kMerger) return passes_.Merger(pass, static_cast<size_t>(piece.output));
  for (int64_t i = piece.first_block; i < piece.last_block; ++i) {
    passes_.Block(pass, i);
    Observe(absl::StrCat("block_", i), pass.memory->x(), pass.plan->patches(), info_.tower.hidden_size);
  }
}

void CudaRunner::RunPiece(const Pass& pass, size_t index) {
  const Piece& piece = pieces_[index];
  const bool merger = piece.kind == Piece::Kind::kMerger;
  if (merger) downloaded_[static_cast<size_t>(piece.output)].HoldBack(streams_.compute);
  if (pass.plan->graph) {
    graphs_.at(pass.rows())[index].Launch(streams_.compute);
  } else {
    EnqueuePiece(pass, piece);
  }
  pass.slot->marks.Mark(merger ? &ForwardTimes::merger : &ForwardTimes::blocks, streams_.compute);
  if (!merger) return;
  Observe(piece.output == 0 ? "merger" : absl::StrCat("deepstack_", piece.output - 1),
          pass.memory->output(static_cast<size_t>(piece.output)), pass.plan->patches() / info_.tower.merge_unit(),
          info_.tower.out_hidden_size);
}

// Into memory that becomes the reply's, on a stream of its own, while the next blocks run.
HostTensor CudaRunner::Download(const Pass& pass, const Piece& piece) {
  const auto output = static_cast<size_t>(piece.output);
  HostTensor host;
  host.rows = pass.plan->patches() / info_.tower.merge_unit();
  host.cols = info_.tower.out_hidden_size;
  host.dtype = info_.dtype;
  const auto bytes = static_cast<size_t>(host.rows * host.cols * ByteSize(host.dtype));
  const std::shared_ptr<std::byte> block = replies_.Take(bytes);
  ready_[output].Record(streams_.compute);
  ready_[output].HoldBack(streams_.download);
  CheckCuda(cudaMemcpyAsync(block.get(), pass.memory->output(output), bytes, cudaMemcpyDeviceToHost, streams_.download),
            "download");
  downloaded_[output].Record(streams_.download);
  host.data = block;
  return host;
}

// Notes since when the device has had nothing to do, if so.
void CudaRunner::TakeTurn(PassSlot& slot) {
  slot.enqueued_at = std::chrono::steady_clock::now();
  slot.idle_since.reset();
  if (latest_ == nullptr || latest_->computed.Reached()) slot.idle_since = latest_end_.value_or(slot.enqueued_at);
  latest_ = &slot;
  latest_end_.reset();
}

void CudaRunner::Enqueue(const Pass& pass, const OutputSet& wanted, EncodedBatch& batch) {
  const std::lock_guard lock(turn_);
  if (!pass.plan->graph) eager_memory_.Reserve(pass.rows(), pass.meta.bytes);
  TakeTurn(*pass.slot);
  pass.slot->marks.Begin(streams_.compute);
  Embed(pass);
  for (const size_t index : PiecesFor(pieces_, wanted)) {
    RunPiece(pass, index);
    const Piece& piece = pieces_[index];
    if (piece.kind != Piece::Kind::kMerger) continue;
    (piece.output == 0 ? batch.tokens : batch.deepstack[piece.output - 1]) = Download(pass, piece);
  }
  pass.slot->computed.Record(streams_.compute);
  pass.slot->computed.HoldBack(streams_.download);
  pass.slot->marks.Mark(&ForwardTimes::download, streams_.download);
  pass.slot->done.Record(streams_.download);
}

void CudaRunner::Await(const Pass& pass) {
  const auto limit = kPatience + kPatiencePerPatch * pass.rows();
  if (WaitPatiently([&] { return pass.slot->done.Reached(); }, limit)) return;
  stuck_ = true;
  throw CudaError(absl::StrCat("a pass of ", pass.plan->patches(), " patches did not end within ",
                               std::chrono::duration_cast<std::chrono::seconds>(limit).count(),
                               " s: the device is given up"));
}

// What the device says, and what the host did beside it: before its turn the upload, or nothing of its own while an
// earlier pass ran; after it the download.
ForwardTimes CudaRunner::TimesOf(const PassSlot& slot, PassSlot::TimePoint begin) {
  using std::chrono::nanoseconds;
  ForwardTimes times = slot.marks.Times();
  const auto end = std::chrono::steady_clock::now();
  {
    const std::lock_guard lock(turn_);
    if (latest_ == &slot) latest_end_ = end;
  }
  const nanoseconds host = std::max<nanoseconds>(nanoseconds(0), end - begin - Sum(times));
  const nanoseconds shared = slot.idle_since ? *slot.idle_since - begin : host;
  times.behind = std::clamp(shared, nanoseconds(0), host);
  if (slot.idle_since) {
    const nanoseconds before =
        std::clamp<nanoseconds>(slot.enqueued_at - begin - times.behind, nanoseconds(0), host - times.behind);
    times.upload += before;
    times.download += host - times.behind - before;
  }
  return times;
}

// So that nobody writes into what a failed pass was given.
void CudaRunner::Abandon() const {
  if (stuck_) return;
  for (cudaStream_t stream : {streams_.upload, streams_.compute, streams_.download})
    (void)cudaStreamSynchronize(stream);
}

EncodedBatch CudaRunner::Run(absl::Span<const TowerInput> items, const OutputSet& wanted) {
  const auto begin = std::chrono::steady_clock::now();
  Lending<PassSlot>::Loan slot = slots_.Take();
  if (stuck_) throw CudaError("the device was given up: an earlier pass did not end");
  CheckCuda(cudaSetDevice(options_.device), "cudaSetDevice");
  BatchRules rules = rules_;
  rules.graphs = rules.graphs && !graphs_.empty();
  const BatchPlan plan = PlanBatch(items, rules);
  const Pass pass{&plan, LayoutOf(plan), plan.graph ? &graph_memory_ : &eager_memory_, slot.get()};
  EncodedBatch batch;
  for (const int64_t offset : plan.patch_offsets) batch.token_offsets.push_back(offset / info_.tower.merge_unit());
  batch.deepstack.resize(wanted.deepstack.size());
  try {
    Stage(items, pass);
    Enqueue(pass, wanted, batch);
    Await(pass);
  } catch (...) {
    Abandon();
    if (stuck_) (void)slot.release();  // the device may still write into it
    throw;
  }
  batch.times = TimesOf(*slot, begin);
  return batch;
}

}  // namespace vitower
