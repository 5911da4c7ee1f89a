// The tower, asked a line at a time by tower_vs_transformers.py; answers with one line each.
//   tower_serve --model FOLDER [--dtype bf16] [--threads N]
// "N*TxHxW": one pass of N items: milliseconds, of them in the blocks; resident memory and its peak, MB
// "gemm ROWS": the block's four Linears alone, weights packed: GFLOP/s by our kernels and by oneDNN
// "attention LENGTH COUNT": attention alone over so many segments, rotary embedding and packing included: GFLOP/s
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "model/attention.h"
#include "model/linear.h"
#include "model/load.h"

namespace vitower {
namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr double kLeastMs = 100;
constexpr int kRepeats = 7;

double MsOf(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return Milliseconds(std::chrono::steady_clock::now() - begin).count();
}

// The least of at least so many runs, and of as many as go into a tenth of a second: short ones need more, until
// every thread is awake for all of one.
double BestMs(const std::function<void()>& run) {
  double best = 1e30;
  double spent = 0;
  for (int i = 0; i < kRepeats || spent < kLeastMs; ++i) {
    const double ms = MsOf(run);
    best = std::min(best, ms);
    spent += ms;
  }
  return best;
}

double StatusMb(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::stod(line.substr(key.size() + 1)) / 1024;
  }
  return 0;
}

Frames Item(const GridThw& grid) {
  Frames frames;
  frames.grid = grid;
  frames.frame_count = grid.t == 1 ? 1 : 2 * grid.t;
  frames.height = grid.h * 16;
  frames.width = grid.w * 16;
  std::vector<uint8_t> rgb(frames.frame_count * frames.height * frames.width * 3);
  std::mt19937 random(1);
  for (uint8_t& value : rgb) value = static_cast<uint8_t>(random());
  frames.rgb = std::move(rgb);
  return frames;
}

void Pass(Encoder& encoder, const std::string& line) {
  long long count = 0, t = 0, h = 0, w = 0;
  if (std::sscanf(line.c_str(), "%lld*%lldx%lldx%lld", &count, &t, &h, &w) != 4) std::exit(2);
  const Frames frames = Item({t, h, w});
  const std::vector<TowerInput> items(count, &frames);
  const OutputSet wanted{true, std::vector<bool>(encoder.info().tower.deepstack_visual_indexes.size(), true)};
  Milliseconds blocks{0};
  const double ms = MsOf([&] { blocks = encoder.Forward(items, wanted)->times.blocks; });
  std::cout << line << " " << ms << " " << blocks.count() << " " << StatusMb("VmRSS:") << " " << StatusMb("VmHWM:")
            << std::endl;
}

double GemmRate(const TowerConfig& tower, at::ScalarType dtype, int64_t rows, Linear::Path path) {
  const std::pair<int64_t, int64_t> shapes[] = {{tower.hidden_size, 3 * tower.hidden_size},
                                                {tower.hidden_size, tower.hidden_size},
                                                {tower.hidden_size, tower.intermediate_size},
                                                {tower.intermediate_size, tower.hidden_size}};
  double ms = 0;
  double flops = 0;
  for (const auto& [in, out] : shapes) {
    const Linear linear(at::randn({out, in}).to(dtype), at::randn({out}).to(dtype), path);
    const at::Tensor x = at::randn({rows, in}).to(dtype);
    ms += BestMs([&] { linear(x); });
    flops += 2.0 * static_cast<double>(rows * in * out);
  }
  return flops / ms / 1e6;
}

double AttentionRate(const TowerConfig& tower, at::ScalarType dtype, int64_t length, int64_t count) {
  const int64_t rows = length * count;
  const BatchAttention attention({{0, length, count}}, at::rand({rows, tower.head_dim()}),
                                 {tower.num_heads, tower.head_dim()}, ChooseAttention(dtype, tower.head_dim()));
  const at::Tensor qkv = at::randn({rows, 3 * tower.hidden_size}).to(dtype);
  const double ms = BestMs([&] { attention(qkv); });
  return 4.0 * static_cast<double>(rows * length * tower.hidden_size) / ms / 1e6;
}

int Main(int argc, char** argv) {
  LoadOptions options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--model") options.model = argv[i + 1];
    if (flag == "--threads") options.threads = std::atoi(argv[i + 1]);
    if (flag == "--dtype") options.dtype = std::string(argv[i + 1]) == "fp32" ? DType::kFp32 : DType::kBf16;
  }
  const auto encoder = LoadEncoder(options);
  if (!encoder.ok()) {
    std::fprintf(stderr, "%s\n", encoder.status().ToString().c_str());
    return 1;
  }
  const c10::InferenceMode inference;
  at::set_num_threads(options.threads);
  const EncoderInfo& info = (*encoder)->info();
  const at::ScalarType dtype = info.dtype == DType::kFp32 ? at::kFloat : at::kBFloat16;
  std::cout << "ready " << static_cast<double>(info.weight_bytes) / 1048576 << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command;
    int64_t a = 0, b = 0;
    words >> command >> a >> b;
    if (command == "gemm") {
      std::cout << line << " " << GemmRate(info.tower, dtype, a, Linear::Path::kBest) << " "
                << GemmRate(info.tower, dtype, a, Linear::Path::kOneDnn) << std::endl;
    } else if (command == "attention") {
      std::cout << line << " " << AttentionRate(info.tower, dtype, a, b) << std::endl;
    } else {
      Pass(**encoder, line);
    }
  }
  return 0;
}

}  // namespace
}  // namespace vitower

int main(int argc, char** argv) { return vitower::Main(argc, argv); }
