#include "model/cuda/cuda_runner.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_check.h"
#include "model/cuda/row_buckets.h"
#include "model/cuda/warm_up.h"
#include "model/parallel.h"

namespace vitower {
namespace {

constexpr int64_t kPreparedRows = 65536;  // patches of a batch for which nothing is left to be chosen
constexpr size_t kFewBytes = 2 << 20;     // that one thread stages as fast as several
constexpr int kStagingThreads = 6;

Element ElementOf(DType dtype) {
  return dtype == DType::kBf16 ? Element::kBf16 : dtype == DType::kFp16 ? Element::kFp16 : Element::kFp32;
}

// What the device and the tower allow of the rules that were asked for.
BatchRules Allowed(BatchRules rules, Element element, const TowerConfig& tower) {
  if (element == Element::kFp32) {
    rules.attention = AttentionKind::kMath;
  } else if (TileAttentionBlocks(element, static_cast<int32_t>(tower.head_dim())) == 0) {
    rules.attention = AttentionKind::kFlash;
  }
  rules.graphs = rules.graphs && rules.attention == AttentionKind::kTiles;
  return rules;
}

std::chrono::nanoseconds Sum(const ForwardTimes& times) {
  return times.upload + times.patch_embed + times.position + times.blocks + times.merger + times.download;
}

}  // namespace

CudaRunner::Streams::Streams() {
  CheckCuda(cudaStreamCreateWithFlags(&compute, cudaStreamNonBlocking), "cudaStreamCreate");
  CheckCuda(cudaStreamCreateWithFlags(&download, cudaStreamNonBlocking), "cudaStreamCreate");
}

CudaRunner::Streams::~Streams() {
  (void)cudaStreamDestroy(compute);
  (void)cudaStreamDestroy(download);
}

CudaRunner::CudaRunner(TowerSource source, EncoderInfo& info, const CudaTowerOptions& options)
    : info_(info),
      options_(options),
      element_(ElementOf(info.dtype)),
      rules_(Allowed(options.rules, element_, info.tower)),
      pieces_(PiecesOf(info.tower)),
      weights_(std::move(source), element_),
      gemm_(element_),
      passes_(info, weights_, gemm_, {element_, options.device, streams_.compute}),
      graph_memory_(info.tower, element_),
      eager_memory_(info.tower, element_),
      ready_(1 + info.tower.deepstack_visual_indexes.size()) {
  info_.weight_bytes = weights_.bytes();
  for (cudaEvent_t& event : ready_) {
    CheckCuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  }
  PrepareGemms(weights_, kPreparedRows, gemm_);
  if (rules_.graphs && !options_.observer) CaptureGraphs();
  if (element_ == Element::kFp16) RefuseOverflow();
  observing_ = static_cast<bool>(options_.observer);
}

CudaRunner::~CudaRunner() {
  for (cudaEvent_t event : ready_) (void)cudaEventDestroy(event);
}

void CudaRunner::Log(const std::string& message) const {
  if (options_.log) options_.log(message);
}

void CudaRunner::CaptureGraphs() {
  graph_memory_.Reserve(kLargestGraphRows, LargestMetaBytes(kLargestGraphRows, info_.tower.merge_unit()));
  const Frames frames = NoiseFrames({1, 16, 16}, info_.tower);
  const TowerInput item = &frames;
  (void)Run({&item, 1}, {true, std::vector<bool>(ready_.size() - 1, true)});  // eagerly: loads every kernel
  BatchPlan plan;
  plan.attention = AttentionKind::kTiles;
  for (const int64_t rows : RowBuckets(kSmallestGraphRows, kLargestGraphRows)) {
    plan.rows = rows;
    const Pass pass{&plan, LayoutOf(plan), &graph_memory_};
    std::vector<Graph> graphs;
    for (const Piece& piece : pieces_) graphs.emplace_back(streams_.compute, [&] { EnqueuePiece(pass, piece); });
    graphs_.emplace(rows, std::move(graphs));
  }
  Log(absl::StrCat(graphs_.size() * pieces_.size(), " graphs for up to ", kLargestGraphRows, " patches share ",
                   graph_memory_.bytes() >> 20, " MiB"));
}

// fp16 ends at 65,504, which the MLPs of some trained towers pass.
void CudaRunner::RefuseOverflow() {
  const Frames frames = NoiseFrames({1, 32, 32}, info_.tower);
  const TowerInput item = &frames;
  const EncodedBatch batch = Run({&item, 1}, {true, std::vector<bool>(ready_.size() - 1, true)});
  int64_t nonfinite = CountNonfinite(batch.tokens);
  for (const HostTensor& level : batch.deepstack) nonfinite += CountNonfinite(level);
  if (nonfinite > 0) {
    throw UnfitTower(absl::StrCat("dtype is fp16, in which this tower overflows (", nonfinite,
                                  " outputs of a test picture are not finite): choose bf16 or fp32"));
  }
}

// Into the pinned block, by several threads where that pays, and to the device. The plan goes with it.
void CudaRunner::Upload(absl::Span<const TowerInput> items, const Pass& pass) {
  const auto bytes = static_cast<size_t>(pass.plan->upload_bytes);
  uploaded_.Reserve(bytes);
  staging_.Reserve(pass.meta.bytes + bytes);
  std::byte* block = staging_.data() + pass.meta.bytes;
  WriteMeta(*pass.plan, pass.meta, staging_.data());
  ParallelFor(bytes < kFewBytes ? 1 : kStagingThreads, static_cast<int64_t>(items.size()), [&](int64_t i) {
    const auto source = BytesOf(items[i]);
    std::memcpy(block + pass.plan->items[i].offset, source.data(), source.size());
  });
  const auto send = [&](void* target, const std::byte* source, size_t size) {
    CheckCuda(cudaMemcpyAsync(target, source, size, cudaMemcpyHostToDevice, streams_.compute), "upload");
  };
  send(const_cast<std::byte*>(pass.memory->meta()), staging_.data(), pass.meta.bytes);
  send(uploaded_.data(), block, bytes);
}

void CudaRunner::Embed(const Pass& pass) {
  const auto used = pass.plan->patches();
  const auto hidden = info_.tower.hidden_size;
  passes_.Patchify(pass, static_cast<const uint8_t*>(uploaded_.data()));
  marks_.Mark(&ForwardTimes::upload, streams_.compute);
  Observe("pixel_values", pass.memory->hidden(), used, info_.tower.patch_dim());
  passes_.PatchEmbed(pass);
  marks_.Mark(&ForwardTimes::patch_embed, streams_.compute);
  Observe("patch_embed", pass.memory->x(), used, hidden);
  passes_.Position(pass);
  marks_.Mark(&ForwardTimes::position, streams_.compute);
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
  if (pass.plan->graph) {
    graphs_.at(pass.rows())[index].Launch(streams_.compute);
  } else {
    EnqueuePiece(pass, piece);
  }
  const bool merger = piece.kind == Piece::Kind::kMerger;
  marks_.Mark(merger ? &ForwardTimes::merger : &ForwardTimes::blocks, streams_.compute);
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
  CheckCuda(cudaEventRecord(ready_[output], streams_.compute), "cudaEventRecord");
  CheckCuda(cudaStreamWaitEvent(streams_.download, ready_[output], 0), "cudaStreamWaitEvent");
  CheckCuda(cudaMemcpyAsync(block.get(), pass.memory->output(output), bytes, cudaMemcpyDeviceToHost, streams_.download),
            "download");
  host.data = block;
  return host;
}

EncodedBatch CudaRunner::Run(absl::Span<const TowerInput> items, const OutputSet& wanted) {
  const auto begin = std::chrono::steady_clock::now();
  BatchRules rules = rules_;
  rules.graphs = rules.graphs && !graphs_.empty();
  const BatchPlan plan = PlanBatch(items, rules);
  const Pass pass{&plan, LayoutOf(plan), plan.graph ? &graph_memory_ : &eager_memory_};
  if (!plan.graph) eager_memory_.Reserve(plan.rows, pass.meta.bytes);

  EncodedBatch batch;
  for (const int64_t offset : plan.patch_offsets) batch.token_offsets.push_back(offset / info_.tower.merge_unit());
  batch.deepstack.resize(wanted.deepstack.size());
  const auto planned = std::chrono::steady_clock::now();
  marks_.Begin(streams_.compute);
  Upload(items, pass);
  Embed(pass);
  for (const size_t index : PiecesFor(pieces_, wanted)) {
    RunPiece(pass, index);
    const Piece& piece = pieces_[index];
    if (piece.kind != Piece::Kind::kMerger) continue;
    (piece.output == 0 ? batch.tokens : batch.deepstack[piece.output - 1]) = Download(pass, piece);
  }
  marks_.Mark(&ForwardTimes::download, streams_.download);
  CheckCuda(cudaStreamSynchronize(streams_.download), "forward pass");
  CheckCuda(cudaStreamSynchronize(streams_.compute), "forward pass");
  batch.times = marks_.Times();
  // What the host did beside: planning goes with the upload, noticing the end with the download.
  batch.times.upload += planned - begin;
  batch.times.download +=
      std::max(std::chrono::nanoseconds(0), std::chrono::steady_clock::now() - begin - Sum(batch.times));
  return batch;
}

void CudaRunner::Observe(const std::string& stage, const void* values, int64_t rows, int64_t cols) const {
  if (!observing_) return;
  const int64_t count = rows * cols;
  DeviceBuffer fp32;
  fp32.Reserve(static_cast<size_t>(count) * sizeof(float));
  CheckCuda(LaunchConvert(element_, values, Element::kFp32, fp32.data(), count, streams_.compute), "observe");
  std::vector<float> host(static_cast<size_t>(count));
  CheckCuda(
      cudaMemcpyAsync(host.data(), fp32.data(), host.size() * sizeof(float), cudaMemcpyDeviceToHost, streams_.compute),
      "observe");
  CheckCuda(cudaStreamSynchronize(streams_.compute), "observe");
  options_.observer(stage, rows, cols, host);
}

}  // namespace vitower
