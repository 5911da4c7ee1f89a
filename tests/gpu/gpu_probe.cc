// The CUDA tower from the command line, for tests/gpu/run.sh.
//   gpu_probe make SHAPE DIR [--outliers] [--dtype X]
//   gpu_probe dump --model M --input frames.safetensors --output out.safetensors [--stages] [--single]
//   gpu_probe bench --model M --grids N*TxHxW,... [--repeats N] [--tokens-only]
//   gpu_probe flow --model M --grids N*TxHxW,... [--seconds N] [--tokens-only]   all its encoders at once
//   gpu_probe buckets --model M                      every graph against the kernels launched one by one, larger
//                                                    batches against their items
//   gpu_probe steady --model M [--count N]            batches of many sizes; does memory grow once all were seen?
//   gpu_probe profile --model M --grids N*TxHxW      one pass between cudaProfilerStart and cudaProfilerStop
// Everywhere: [--device cuda:0] [--dtype bf16] [--no-graphs] [--flash]
#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "model/cuda/row_buckets.h"
#include "model/load.h"
#include "model/make_checkpoint.h"
#include "model/safetensors.h"
#include "tests/support/probe.h"

namespace vitower {
namespace {

using Clock = std::chrono::steady_clock;

LoadOptions OptionsOf(const Arguments& arguments) {
  LoadOptions options;
  options.model = arguments.Get("--model", "random:tiny");
  options.device = arguments.Get("--device", "cuda:0");
  options.dtype = DTypeOf(arguments.Get("--dtype", "bf16"));
  options.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  options.log = [](std::string_view message) { std::cerr << message << std::endl; };
  options.batch_rules.graphs = !arguments.Has("--no-graphs");
  if (arguments.Has("--flash")) options.batch_rules.attention = AttentionKind::kFlash;
  return options;
}

OutputSet Outputs(const TowerConfig& tower, bool all) {
  return {true, std::vector<bool>(tower.deepstack_visual_indexes.size(), all)};
}

std::vector<TowerInput> Inputs(const std::vector<Frames>& items) {
  std::vector<TowerInput> inputs;
  for (const Frames& item : items) inputs.emplace_back(&item);
  return inputs;
}

// Item i of the file is the tensor "i", U8 [frames, height, width, 3].
std::vector<Frames> ReadFrames(const std::string& path, const TowerConfig& tower) {
  const SafetensorsFile file = Must(SafetensorsFile::Open(path));
  std::vector<Frames> items;
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const SafetensorsTensor& tensor = file.tensors().at(std::to_string(i));
    const auto* bytes = reinterpret_cast<const uint8_t*>(tensor.bytes.data());
    Frames frames;
    frames.frame_count = tensor.shape.at(0);
    frames.height = tensor.shape.at(1);
    frames.width = tensor.shape.at(2);
    frames.rgb = std::vector<uint8_t>(bytes, bytes + tensor.bytes.size());
    frames.grid = {(frames.frame_count + 1) / 2, frames.height / tower.patch_size, frames.width / tower.patch_size};
    items.push_back(std::move(frames));
  }
  return items;
}

class Dump final {
 public:
  void Add(std::string name, std::string dtype, int64_t rows, int64_t cols, const void* bytes, size_t size) {
    const auto* first = static_cast<const std::byte*>(bytes);
    tensors_.push_back({{std::move(name), std::move(dtype), {rows, cols}}, {first, first + size}});
  }
  void Add(const EncodedBatch& batch, const std::string& suffix) {
    Add(std::string("tokens").append(suffix), batch.tokens);
    for (size_t i = 0; i < batch.deepstack.size(); ++i) {
      Add(std::string("deepstack_").append(std::to_string(i)).append(suffix), batch.deepstack[i]);
    }
  }
  absl::Status Write(const std::string& path) const {
    std::vector<SafetensorsContent> contents;
    for (const Entry& tensor : tensors_) contents.push_back({tensor.entry, tensor.bytes});
    return WriteSafetensors(path, contents);
  }

 private:
  struct Entry {
    SafetensorsEntry entry;
    std::vector<std::byte> bytes;
  };
  void Add(const std::string& name, const HostTensor& tensor) {
    Add(name, std::string(SafetensorsName(tensor.dtype)), tensor.rows, tensor.cols, tensor.data.get(),
        static_cast<size_t>(tensor.rows * tensor.cols * ByteSize(tensor.dtype)));
  }
  std::vector<Entry> tensors_;
};

int Make(const Arguments& arguments) {
  CheckpointRecipe recipe;
  recipe.shape = arguments.words.at(1);
  recipe.outliers = arguments.Has("--outliers");
  recipe.dtype = DTypeOf(arguments.Get("--dtype", "bf16"));
  const absl::Status status = WriteRandomCheckpoint(arguments.words.at(2), recipe);
  if (!status.ok()) Die(status);
  return 0;
}

// --single: each item once more by itself, as "tokens.0" and so on.
int RunDump(const Arguments& arguments) {
  Dump dump;
  LoadOptions options = OptionsOf(arguments);
  if (arguments.Has("--stages")) {
    options.observer = [&](std::string_view name, int64_t rows, int64_t cols, absl::Span<const float> values) {
      dump.Add(std::string("stage.").append(name), "F32", rows, cols, values.data(), values.size() * sizeof(float));
    };
  }
  const auto encoder = Must(LoadEncoder(options));
  const TowerConfig& tower = encoder->info().tower;
  const std::vector<Frames> items = ReadFrames(arguments.Get("--input", ""), tower);
  const std::vector<TowerInput> inputs = Inputs(items);
  dump.Add(Must(encoder->Forward(inputs, Outputs(tower, true))), "");
  for (size_t i = 0; i < inputs.size() && arguments.Has("--single"); ++i) {
    dump.Add(Must(encoder->Forward({&inputs[i], 1}, Outputs(tower, true))), std::string(".").append(std::to_string(i)));
  }
  const absl::Status status = dump.Write(arguments.Get("--output", ""));
  if (!status.ok()) Die(status);
  return 0;
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

double Ms(std::chrono::nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); }

// Prints: grid, device (patch_embed to merger), wall, upload, patch_embed, position, blocks, merger, download; medians
// in ms.
void BenchGrid(Encoder& encoder, const std::string& grid, int repeats, bool all) {
  const std::vector<Frames> items = MakeFrames(grid, encoder.info().tower);
  const std::vector<TowerInput> inputs = Inputs(items);
  const OutputSet wanted = Outputs(encoder.info().tower, all);
  std::vector<double> columns[8];
  for (int i = -5; i < repeats; ++i) {
    const auto begin = Clock::now();
    const ForwardTimes times = Must(encoder.Forward(inputs, wanted)).times;
    const double wall = Ms(Clock::now() - begin);
    if (i < 0) continue;
    const double stages[] = {Ms(times.upload), Ms(times.patch_embed), Ms(times.position),
                             Ms(times.blocks), Ms(times.merger),      Ms(times.download)};
    columns[0].push_back(stages[1] + stages[2] + stages[3] + stages[4]);
    columns[1].push_back(wall);
    for (int j = 0; j < 6; ++j) columns[j + 2].push_back(stages[j]);
  }
  std::cout << grid;
  for (const auto& column : columns) std::cout << " " << Median(column);
  std::cout << std::endl;
}

int Bench(const Arguments& arguments) {
  const auto begin = Clock::now();
  const auto encoder = Must(LoadEncoder(OptionsOf(arguments)));
  std::cout << "ready " << Ms(Clock::now() - begin) << std::endl;
  std::istringstream grids(arguments.Get("--grids", "1*1x14x14"));
  for (std::string grid; std::getline(grids, grid, ',');) {
    BenchGrid(*encoder, grid, arguments.Int("--repeats", 20), !arguments.Has("--tokens-only"));
  }
  return 0;
}

bool Same(const HostTensor& a, const HostTensor& b) {
  return a.rows == b.rows &&
         std::memcmp(a.data.get(), b.data.get(), static_cast<size_t>(a.rows * a.cols * ByteSize(a.dtype))) == 0;
}

struct Flow {
  int passes = 0;
  int different = 0;  // from what the same batch gave by itself
  double device_ms = 0;
  double behind_ms = 0;
};

// Passes of one encoder, one after the other, until `end`.
Flow Repeat(Encoder& encoder, const std::vector<TowerInput>& inputs, const OutputSet& wanted,
            const EncodedBatch& expected, Clock::time_point end) {
  Flow flow;
  for (; Clock::now() < end; ++flow.passes) {
    const EncodedBatch batch = Must(encoder.Forward(inputs, wanted));
    const ForwardTimes& times = batch.times;
    flow.device_ms += Ms(times.patch_embed + times.position + times.blocks + times.merger);
    flow.behind_ms += Ms(times.behind);
    bool same = !wanted.tokens || Same(batch.tokens, expected.tokens);
    for (size_t i = 0; i < wanted.deepstack.size(); ++i) {
      same = same && (!wanted.deepstack[i] || Same(batch.deepstack[i], expected.deepstack[i]));
    }
    flow.different += same ? 0 : 1;
  }
  return flow;
}

// What a device does where nothing waits for anything else. Each encoder has a batch of its own: item i of a grid for
// the first, of the next grid for the second. Prints: grids, items a second, passes, device ms and ms behind another
// pass (means of a pass).
int RunFlow(const Arguments& arguments) {
  const auto encoders = Must(LoadEncoders(OptionsOf(arguments)));
  const TowerConfig& tower = encoders[0]->info().tower;
  const OutputSet wanted = Outputs(tower, !arguments.Has("--tokens-only"));
  std::vector<std::string> grids;
  std::istringstream list(arguments.Get("--grids", "64*1x14x14"));
  for (std::string grid; std::getline(list, grid, ',');) grids.push_back(grid);
  std::vector<std::vector<Frames>> items;
  for (size_t i = 0; i < encoders.size(); ++i) items.push_back(MakeFrames(grids[i % grids.size()], tower));
  std::vector<EncodedBatch> expected;
  for (const auto& batch : items) expected.push_back(Must(encoders[0]->Forward(Inputs(batch), wanted)));
  std::vector<Flow> flows(encoders.size());
  const auto begin = Clock::now();
  const auto end = begin + std::chrono::seconds(arguments.Int("--seconds", 3));
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < encoders.size(); ++i) {
      threads.emplace_back([&, i] { flows[i] = Repeat(*encoders[i], Inputs(items[i]), wanted, expected[i], end); });
    }
  }
  const double seconds = Ms(Clock::now() - begin) / 1000;
  double done = 0;
  Flow all;
  for (size_t i = 0; i < flows.size(); ++i) {
    done += static_cast<double>(items[i].size()) * flows[i].passes;
    all.passes += flows[i].passes;
    all.different += flows[i].different;
    all.device_ms += flows[i].device_ms;
    all.behind_ms += flows[i].behind_ms;
  }
  std::cout << arguments.Get("--grids", "64*1x14x14") << " " << done / seconds << " items/s, " << all.passes
            << " passes, device " << all.device_ms / all.passes << " ms, behind " << all.behind_ms / all.passes
            << " ms, " << all.different << " passes differ from the batch by itself" << std::endl;
  return all.different == 0 ? 0 : 1;
}

double Distance(const HostTensor& a, const HostTensor& b) {
  const auto value = [](const HostTensor& tensor, int64_t i) {
    uint16_t bits = 0;
    std::memcpy(&bits, tensor.data.get() + i * 2, 2);
    return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(bits) << 16));
  };
  double difference = 0;
  double norm = 0;
  for (int64_t i = 0; i < a.rows * a.cols; ++i) {
    const double expected = value(b, i);
    const double distance = value(a, i) - expected;
    difference += distance * distance;
    norm += expected * expected;
  }
  return std::sqrt(difference / norm);
}

// Two orders of the same sums in bf16, each of which is about 1.1e-2 from fp32.
constexpr double kFurthestApart = 2e-2;

// The most that an item's outputs differ where it is one of a batch from where it is alone.
double DistanceFromAlone(Encoder& encoder, const std::string& grids) {
  const std::vector<Frames> items = MakeFrames(grids, encoder.info().tower);
  const std::vector<TowerInput> inputs = Inputs(items);
  const OutputSet all = Outputs(encoder.info().tower, true);
  const EncodedBatch batch = Must(encoder.Forward(inputs, all));
  const auto part = [&](const HostTensor& tensor, size_t item) {
    HostTensor rows = tensor;
    rows.rows = batch.token_offsets[item + 1] - batch.token_offsets[item];
    rows.data = {tensor.data, tensor.data.get() + batch.token_offsets[item] * tensor.cols * ByteSize(tensor.dtype)};
    return rows;
  };
  double worst = 0;
  for (size_t item = 0; item < inputs.size(); ++item) {
    const EncodedBatch alone = Must(encoder.Forward({&inputs[item], 1}, all));
    worst = std::max(worst, Distance(part(batch.tokens, item), alone.tokens));
    for (size_t i = 0; i < alone.deepstack.size(); ++i) {
      worst = std::max(worst, Distance(part(batch.deepstack[i], item), alone.deepstack[i]));
    }
  }
  return worst;
}

// bf16. One still that fills each bucket as well as an even grid can, and a smallest one beside it where there is room;
// then batches beyond the graphs, of short and of long segments, against each of their items alone.
int Buckets(const Arguments& arguments) {
  LoadOptions options = OptionsOf(arguments);
  const auto graphs = Must(LoadEncoder(options));
  options.batch_rules.graphs = false;
  const auto eager = Must(LoadEncoder(options));
  double worst = 0;
  for (const int64_t rows : RowBuckets(kSmallestGraphRows, kLargestGraphRows)) {
    const auto h = static_cast<int64_t>(std::sqrt(static_cast<double>(rows))) / 2 * 2;
    const int64_t w = rows / h / 2 * 2;
    std::vector<Frames> items = MakeFrames(
        std::string("1*1x").append(std::to_string(h)).append("x").append(std::to_string(w)), graphs->info().tower);
    if (rows - h * w >= 4) items.push_back(MakeFrames("1*1x2x2", graphs->info().tower).front());
    const std::vector<TowerInput> inputs = Inputs(items);
    const OutputSet all = Outputs(graphs->info().tower, true);
    const EncodedBatch a = Must(graphs->Forward(inputs, all));
    const EncodedBatch b = Must(eager->Forward(inputs, all));
    double distance = Distance(a.tokens, b.tokens);
    for (size_t i = 0; i < a.deepstack.size(); ++i) {
      distance = std::max(distance, Distance(a.deepstack[i], b.deepstack[i]));
    }
    worst = std::max(worst, distance);
    std::cout << rows << " rows, " << a.token_offsets.back() * 4 << " patches: relL2 " << distance << std::endl;
  }
  double beyond = 0;
  for (const char* grids : {"64*1x14x14", "12*1x28x28", "3*1x44x80"}) {
    const double distance = DistanceFromAlone(*graphs, grids);
    beyond = std::max(beyond, distance);
    std::cout << grids << ", each against itself alone: relL2 " << distance << std::endl;
  }
  std::cout << "worst " << worst << "; beyond the graphs, against items alone, " << beyond << std::endl;
  return worst < 1e-2 && beyond < kFurthestApart ? 0 : 1;
}

// Looked up, so that the probe needs no CUDA header.
void Profiler(const char* function) {
  if (void* found = dlsym(RTLD_DEFAULT, function); found != nullptr) reinterpret_cast<int (*)()>(found)();
}

size_t FreeDeviceBytes() {
  size_t free = 0;
  size_t total = 0;
  if (void* found = dlsym(RTLD_DEFAULT, "cudaMemGetInfo"); found != nullptr) {
    reinterpret_cast<int (*)(size_t*, size_t*)>(found)(&free, &total);
  }
  return free;
}

int Steady(const Arguments& arguments) {
  const auto encoder = Must(LoadEncoder(OptionsOf(arguments)));
  const TowerConfig& tower = encoder->info().tower;
  std::vector<std::vector<Frames>> batches;
  for (const char* grid : {"1*1x2x2", "1*1x14x14", "5*1x14x14", "2*2x10x12", "3*1x28x28", "12*1x28x28", "1*1x60x68"}) {
    batches.push_back(MakeFrames(grid, tower));
  }
  const int count = arguments.Int("--count", 10000);
  size_t after_all = 0;
  for (int i = 0; i < count; ++i) {
    const std::vector<TowerInput> inputs = Inputs(batches[static_cast<size_t>(i) % batches.size()]);
    (void)Must(encoder->Forward(inputs, Outputs(tower, i % 2 == 0)));
    if (i == static_cast<int>(2 * batches.size())) after_all = FreeDeviceBytes();
  }
  const size_t at_end = FreeDeviceBytes();
  std::cout << count << " batches; free device bytes once all sizes were seen " << after_all << ", at the end "
            << at_end << std::endl;
  return at_end == after_all && after_all > 0 ? 0 : 1;
}

int Profile(const Arguments& arguments) {
  const auto encoder = Must(LoadEncoder(OptionsOf(arguments)));
  const std::vector<Frames> items = MakeFrames(arguments.Get("--grids", "64*1x14x14"), encoder->info().tower);
  const std::vector<TowerInput> inputs = Inputs(items);
  const OutputSet wanted = Outputs(encoder->info().tower, true);
  for (int i = 0; i < 3; ++i) (void)Must(encoder->Forward(inputs, wanted));
  Profiler("cudaProfilerStart");
  (void)Must(encoder->Forward(inputs, wanted));
  Profiler("cudaProfilerStop");
  return 0;
}

int Main(const Arguments& arguments) {
  const std::string verb = arguments.words.empty() ? "" : arguments.words[0];
  if (verb == "make") return Make(arguments);
  if (verb == "dump") return RunDump(arguments);
  if (verb == "bench") return Bench(arguments);
  if (verb == "flow") return RunFlow(arguments);
  if (verb == "buckets") return Buckets(arguments);
  if (verb == "steady") return Steady(arguments);
  if (verb == "profile") return Profile(arguments);
  Die(absl::InvalidArgumentError("the first word is make, dump, bench, flow, buckets, steady or profile"));
}

}  // namespace
}  // namespace vitower

int main(int argc, char** argv) {
  return vitower::Main(vitower::ParseArguments(
      argc, argv, {"--outliers", "--stages", "--single", "--no-graphs", "--flash", "--tokens-only"}));
}
