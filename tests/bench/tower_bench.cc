// Two tables in Markdown: the patch embedding as Conv3d and as the tower's Linear, and the tower's stages by batch.
//   tower_bench [--shape 2b] [--threads N] [--repeats N]      threads: by default the machine's
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "model/linear.h"
#include "model/load.h"

namespace vitower {
namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

double TimeOf(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return Milliseconds(std::chrono::steady_clock::now() - begin).count();
}

// The clip of 8 x (20x38) patches through the embedding of the 2B shape, the two ways in turn.
void PatchEmbedding(at::ScalarType dtype, const char* name, int repeats) {
  constexpr int64_t kPatches = 6080;
  constexpr int64_t kHidden = 1024;
  const at::Tensor weight = (at::randn({kHidden, 3, 2, 16, 16}) / std::sqrt(1536.0)).to(dtype);
  const at::Tensor bias = (at::randn({kHidden}) * 0.1).to(dtype);
  const at::Tensor pixels = (at::rand({kPatches, 1536}) * 2 - 1).to(dtype);
  const Linear linear(weight.view({kHidden, 1536}), bias);
  at::Tensor as_conv;
  at::Tensor as_linear;
  std::vector<double> conv_ms;
  std::vector<double> linear_ms;
  for (int i = 0; i <= repeats; ++i) {
    const double conv = TimeOf([&] {
      as_conv = at::conv3d(pixels.view({kPatches, 3, 2, 16, 16}), weight, bias, {2, 16, 16}).view({kPatches, kHidden});
    });
    const double flat = TimeOf([&] { as_linear = linear(pixels); });
    if (i == 0) continue;
    conv_ms.push_back(conv);
    linear_ms.push_back(flat);
  }
  as_conv = as_conv.to(at::kFloat);
  as_linear = as_linear.to(at::kFloat);
  const double difference = (as_conv - as_linear).abs().max().item<double>();
  const double cosine = at::cosine_similarity(as_conv, as_linear, 1).min().item<double>();
  const double conv = Median(conv_ms);
  const double flat = Median(linear_ms);
  std::printf("| %s | %.1f | %.1f | %.1f | %.1e | %.6f |\n", name, conv, flat, conv / flat, difference, cosine);
}

Frames Still(int64_t grid_h, int64_t grid_w) {
  Frames frames;
  frames.grid = {1, grid_h, grid_w};
  frames.frame_count = 1;
  frames.height = grid_h * 16;
  frames.width = grid_w * 16;
  std::vector<uint8_t> rgb(frames.height * frames.width * 3);
  std::mt19937 random(1);
  for (uint8_t& value : rgb) value = static_cast<uint8_t>(random());
  frames.rgb = std::move(rgb);
  return frames;
}

int StageTable(const LoadOptions& options, const char* name, int repeats) {
  const auto encoder = LoadEncoder(options);
  if (!encoder.ok()) {
    std::fprintf(stderr, "%s\n", encoder.status().ToString().c_str());
    return 1;
  }
  const Frames still = Still(14, 14);
  const OutputSet wanted{true, std::vector<bool>((*encoder)->info().tower.deepstack_visual_indexes.size(), true)};
  for (const int batch : {1, 2, 4, 8, 16}) {
    const std::vector<TowerInput> items(batch, &still);
    std::vector<double> stages[7];
    for (int i = 0; i <= repeats; ++i) {
      ForwardTimes times;
      const double total = TimeOf([&] { times = (*encoder)->Forward(items, wanted)->times; });
      if (i == 0) continue;
      const std::chrono::nanoseconds parts[] = {times.upload, times.patch_embed, times.position,
                                                times.blocks, times.merger,      times.download};
      for (int j = 0; j < 6; ++j) stages[j].push_back(Milliseconds(parts[j]).count());
      stages[6].push_back(total);
    }
    std::printf("| %s | %d", name, batch);
    for (const auto& stage : stages) std::printf(" | %.2f", Median(stage));
    std::printf(" | %.1f |\n", batch * 1000 / Median(stages[6]));
    std::fflush(stdout);
  }
  return 0;
}

int Main(int argc, char** argv) {
  LoadOptions options;
  options.model = "random:2b";
  options.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  int repeats = 5;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--shape") options.model = std::string("random:") + argv[i + 1];
    if (flag == "--threads") options.threads = std::atoi(argv[i + 1]);
    if (flag == "--repeats") repeats = std::atoi(argv[i + 1]);
  }
  const c10::InferenceMode inference;
  at::set_num_threads(options.threads);
  std::printf("Patch embedding, 6,080 patches, 1,024 wide, %d threads\n\n", options.threads);
  std::printf(
      "| dtype | Conv3d, ms | Linear, ms | ratio | max abs difference | smallest cosine "
      "|\n|---|---|---|---|---|---|\n");
  PatchEmbedding(at::kFloat, "fp32", repeats);
  PatchEmbedding(at::kBFloat16, "bf16", repeats);
  std::printf("\nStages of %s, images of 14x14 patches, ms\n\n", options.model.c_str());
  std::printf("| dtype | batch | upload | patch_embed | position | blocks | merger | download | total | images/s |\n");
  std::printf("|---|---|---|---|---|---|---|---|---|---|\n");
  options.dtype = DType::kBf16;
  if (const int failed = StageTable(options, "bf16", repeats); failed != 0) return failed;
  options.dtype = DType::kFp32;
  return StageTable(options, "fp32", repeats);
}

}  // namespace
}  // namespace vitower

int main(int argc, char** argv) { return vitower::Main(argc, argv); }
