#include "model/cuda/cuda_runner.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_check.h"
#include "model/cuda/row_buckets.h"
#include "model/cuda/warm_up.h"

namespace vitower {
namespace {

constexpr int64_t kPreparedRows = 65536;  // patches of a batch for which nothing is left to be chosen

Element ElementOf(DType dtype) {
  return dtype == DType::kBf16 ? Element::kBf16 : dtype == DType::kFp16 ? Element::kFp16 : Element::kFp32;
}

// What the device and the tower allow of the rules that were asked for.
BatchRules Allowed(BatchRules rules, Element element, const TowerConfig& tower) {
  const auto head_dim = static_cast<int32_t>(tower.head_dim());
  rules.hopper = true;
  for (const int32_t tile_rows : {kSmallTileRows, kHopperTileRows, kShortTileRows}) {
    rules.hopper = rules.hopper && HopperAttentionBlocks(element, head_dim, tile_rows) > 0;
  }
  if (element == Element::kFp32) {
    rules.attention = AttentionKind::kMath;
  } else if (TileAttentionBlocks(element, head_dim) == 0) {
    rules.attention = AttentionKind::kFlash;
  }
  rules.graphs = rules.graphs && rules.attention == AttentionKind::kTiles;
  return rules;
}

}  // namespace

CudaRunner::Streams::Streams() {
  for (cudaStream_t* stream : {&upload, &compute, &download}) {
    CheckCuda(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "cudaStreamCreate");
  }
}

CudaRunner::Streams::~Streams() {
  for (cudaStream_t stream : {upload, compute, download}) (void)cudaStreamDestroy(stream);
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
      ready_(1 + info.tower.deepstack_visual_indexes.size()),
      downloaded_(ready_.size()) {
  info_.weight_bytes = weights_.bytes();
  PrepareGemms(weights_, kPreparedRows, gemm_);
  if (rules_.graphs && !options_.observer) CaptureGraphs();
  if (element_ == Element::kFp16) RefuseOverflow();
  observing_ = static_cast<bool>(options_.observer);
}

void CudaRunner::Log(const std::string& message) const {
  if (options_.log) options_.log(message);
}

void CudaRunner::CaptureGraphs() {
  graph_memory_.Reserve(kLargestGraphRows, LargestMetaBytes(kLargestGraphRows, info_.tower.merge_unit()));
  const Frames frames = NoiseFrames({1, 16, 16}, info_.tower);
  const TowerInput item = &frames;
  (void)Run({&item, 1}, {true, std::vector<bool>(ready_.size() - 1, true)});  // eagerly: loads the kernels
  BatchPlan plan;
  plan.attention = AttentionKind::kTiles;
  for (const int64_t rows : RowBuckets(kSmallestGraphRows, kLargestGraphRows)) {
    plan.rows = rows;
    plan.tile_rows = TileRowsFor(rows, rows, rules_);
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
