// Runs a tower over frames and writes all that it computes on the way, for the parity tests, or how long it takes.
//   tower_dump --make SHAPE DIR [--dtype X] [--outliers] [--shards N] [--seed N]
//   tower_dump --model M --dtype X --input items.safetensors --output out.safetensors [--no-stages]
//   tower_dump --model M --dtype X --bench TxHxW,N*TxHxW,... [--serve]
//   tower_dump --pixel-values MIN_PIXELS,MAX_PIXELS   stdin to stdout until end of file: records of int32 size and an
//       encoded image -> int32 t h w and the patches' values in fp32, or int32 0 0 size and the error's text
// With a model, --threads N: of the compute pool; by default the machine's.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "model/load.h"
#include "model/make_checkpoint.h"
#include "model/patchify.h"
#include "model/safetensors.h"
#include "preprocess/image.h"
#include "tests/support/probe.h"

namespace vitower {
namespace {

using Clock = std::chrono::steady_clock;

using Item = std::variant<Frames, PatchRows>;

std::vector<uint8_t> BytesOf(const SafetensorsTensor& tensor) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(tensor.bytes.data());
  return {bytes, bytes + tensor.bytes.size()};
}

int64_t Slices(int64_t frame_count, const TowerConfig& tower) {
  return (frame_count + tower.temporal_patch_size - 1) / tower.temporal_patch_size;
}

// U8 [frames, height, width, 3].
Frames FramesOf(const SafetensorsTensor& tensor, const TowerConfig& tower) {
  Frames frames;
  frames.frame_count = tensor.shape.at(0);
  frames.height = tensor.shape.at(1);
  frames.width = tensor.shape.at(2);
  frames.rgb = BytesOf(tensor);
  frames.grid = {Slices(frames.frame_count, tower), frames.height / tower.patch_size, frames.width / tower.patch_size};
  return frames;
}

// F32, F16 or BF16 [patches, 1536] and I64 [3].
PatchRows PatchesOf(const SafetensorsTensor& tensor, const SafetensorsTensor& grid) {
  PatchRows patches;
  patches.values = BytesOf(tensor);
  patches.dtype = tensor.dtype == "F32" ? DType::kFp32 : tensor.dtype == "F16" ? DType::kFp16 : DType::kBf16;
  const auto side = [&](size_t i) {
    int64_t value = 0;
    std::memcpy(&value, grid.bytes.data() + i * sizeof(value), sizeof(value));
    return value;
  };
  patches.grid = {side(0), side(1), side(2)};
  return patches;
}

// Item i of the input is the tensor "i"; patches have their grid in "i.grid".
std::vector<Item> ReadItems(const std::string& path, const TowerConfig& tower) {
  const SafetensorsFile file = Must(SafetensorsFile::Open(path));
  std::vector<Item> items;
  for (auto found = file.tensors().find("0"); found != file.tensors().end();
       found = file.tensors().find(std::to_string(items.size()))) {
    const auto grid = file.tensors().find(found->first + ".grid");
    if (grid == file.tensors().end()) {
      items.emplace_back(FramesOf(found->second, tower));
    } else {
      items.emplace_back(PatchesOf(found->second, grid->second));
    }
  }
  return items;
}

OutputSet Everything(const TowerConfig& tower) {
  return {true, std::vector<bool>(tower.deepstack_visual_indexes.size(), true)};
}

std::vector<TowerInput> Pointers(const std::vector<Item>& items) {
  std::vector<TowerInput> pointers;
  for (const Item& item : items) {
    std::visit([&](const auto& one) { pointers.emplace_back(&one); }, item);
  }
  return pointers;
}

// Copies of what the observer and the outputs borrow.
class Dump final {
 public:
  void Add(std::string name, std::string dtype, int64_t rows, int64_t cols, const void* bytes, size_t size) {
    const auto* first = static_cast<const std::byte*>(bytes);
    tensors_.push_back({{std::move(name), std::move(dtype), {rows, cols}}, {first, first + size}});
  }
  void Add(const std::string& name, const HostTensor& tensor) {
    Add(name, std::string(SafetensorsName(tensor.dtype)), tensor.rows, tensor.cols, tensor.data.get(),
        tensor.rows * tensor.cols * ByteSize(tensor.dtype));
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
  std::vector<Entry> tensors_;
};

int Make(const Arguments& arguments) {
  CheckpointRecipe recipe;
  recipe.shape = arguments.Get("--make", "tiny");
  recipe.dtype = DTypeOf(arguments.Get("--dtype", "bf16"));
  recipe.outliers = arguments.Has("--outliers");
  recipe.shards = std::atoi(arguments.Get("--shards", "1").c_str());
  recipe.seed = std::strtoull(arguments.Get("--seed", "0").c_str(), nullptr, 10);
  recipe.threads = static_cast<int>(std::thread::hardware_concurrency());
  const absl::Status status = WriteRandomCheckpoint(arguments.words.at(0), recipe);
  if (!status.ok()) Die(status);
  return 0;
}

LoadOptions OptionsOf(const Arguments& arguments) {
  LoadOptions options;
  options.model = arguments.Get("--model", "random:tiny");
  if (arguments.Has("--dtype")) options.dtype = DTypeOf(arguments.Get("--dtype", ""));
  options.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (arguments.Has("--threads")) options.threads = std::atoi(arguments.Get("--threads", "").c_str());
  return options;
}

int RunOnce(const Arguments& arguments) {
  Dump dump;
  LoadOptions options = OptionsOf(arguments);
  if (!arguments.Has("--no-stages")) {
    options.observer = [&](std::string_view name, int64_t rows, int64_t cols, absl::Span<const float> values) {
      dump.Add("stage." + std::string(name), "F32", rows, cols, values.data(), values.size() * sizeof(float));
    };
  }
  const auto encoder = Must(LoadEncoder(options));
  const std::vector<Item> items = ReadItems(arguments.Get("--input", ""), encoder->info().tower);
  const EncodedBatch batch = Must(encoder->Forward(Pointers(items), Everything(encoder->info().tower)));
  dump.Add("tokens", batch.tokens);
  for (size_t i = 0; i < batch.deepstack.size(); ++i) dump.Add("deepstack_" + std::to_string(i), batch.deepstack[i]);
  dump.Add("token_offsets", "I64", 1, static_cast<int64_t>(batch.token_offsets.size()), batch.token_offsets.data(),
           batch.token_offsets.size() * sizeof(int64_t));
  const absl::Status status = dump.Write(arguments.Get("--output", ""));
  if (!status.ok()) Die(status);
  std::cout << encoder->info().fingerprint << "\n";
  return 0;
}

int64_t StatusKib(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key + ":")) return std::atoll(line.c_str() + key.size() + 1);
  }
  return 0;
}

std::vector<Item> ItemsOf(std::vector<Frames> frames) {
  return {std::make_move_iterator(frames.begin()), std::make_move_iterator(frames.end())};
}

// Prints: milliseconds, then each stage's, then resident and peak memory in KiB.
void TimeOnce(Encoder& encoder, const std::string& grid) {
  const std::vector<Item> items = ItemsOf(MakeFrames(grid, encoder.info().tower));
  const auto begin = Clock::now();
  const EncodedBatch batch = Must(encoder.Forward(Pointers(items), Everything(encoder.info().tower)));
  const std::chrono::duration<double, std::milli> total = Clock::now() - begin;
  const auto ms = [](std::chrono::nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); };
  const ForwardTimes& times = batch.times;
  std::cout << grid << " " << total.count() << " " << ms(times.upload) << " " << ms(times.patch_embed) << " "
            << ms(times.position) << " " << ms(times.blocks) << " " << ms(times.merger) << " " << ms(times.download)
            << " " << StatusKib("VmRSS") << " " << StatusKib("VmHWM") << std::endl;
}

int Bench(const Arguments& arguments) {
  const auto begin = Clock::now();
  const auto encoder = Must(LoadEncoder(OptionsOf(arguments)));
  std::cout << "ready " << std::chrono::duration<double, std::milli>(Clock::now() - begin).count() << " "
            << StatusKib("VmRSS") << " " << StatusKib("VmHWM") << std::endl;
  std::istringstream grids(arguments.Get("--bench", ""));
  for (std::string grid; std::getline(grids, grid, ',');) TimeOnce(*encoder, grid);
  if (!arguments.Has("--serve")) return 0;
  for (std::string grid; std::getline(std::cin, grid);) TimeOnce(*encoder, grid);  // interleaved with another program
  return 0;
}

absl::StatusOr<Frames> Prepare(absl::Span<const uint8_t> bytes, const ImageOptions& options) {
  const absl::StatusOr<ImageHeader> header = ProbeImage(bytes);
  if (!header.ok()) return header.status();
  const absl::StatusOr<ImageSize> target = TargetSize(*header, options);
  if (!target.ok()) return target.status();
  absl::StatusOr<RgbImage> image = DecodeImage(bytes, *header, options);
  if (!image.ok()) return image.status();
  return ResizeToFrames(*std::move(image), *target, options);
}

void WriteAnswer(const GridThw& head, const void* data, size_t size) {
  const int32_t numbers[] = {static_cast<int32_t>(head.t), static_cast<int32_t>(head.h), static_cast<int32_t>(head.w)};
  std::cout.write(reinterpret_cast<const char*>(numbers), sizeof(numbers));
  std::cout.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  std::cout.flush();  // the other side waits for it
}

int PixelValuesOfImages(const Arguments& arguments) {
  ImageOptions options;
  char comma = 0;
  std::istringstream(arguments.Get("--pixel-values", "")) >> options.min_pixels >> comma >> options.max_pixels;
  int32_t size = 0;
  while (std::cin.read(reinterpret_cast<char*>(&size), sizeof(size))) {
    std::vector<uint8_t> bytes(static_cast<size_t>(size));
    std::cin.read(reinterpret_cast<char*>(bytes.data()), size);
    const absl::StatusOr<Frames> frames = Prepare(bytes, options);
    if (frames.ok()) {
      const std::vector<float> values = PixelValues(*frames, TowerConfig{}, ImageProcessorConfig{});
      WriteAnswer(frames->grid, values.data(), values.size() * sizeof(float));
    } else {
      const std::string message(frames.status().message());
      WriteAnswer({0, 0, static_cast<int64_t>(message.size())}, message.data(), message.size());
    }
  }
  return 0;
}

}  // namespace
}  // namespace vitower

int main(int argc, char** argv) {
  const vitower::Arguments arguments = vitower::ParseArguments(argc, argv, {"--outliers", "--no-stages", "--serve"});
  if (arguments.Has("--make")) return vitower::Make(arguments);
  if (arguments.Has("--pixel-values")) return vitower::PixelValuesOfImages(arguments);
  return arguments.Has("--bench") ? vitower::Bench(arguments) : vitower::RunOnce(arguments);
}
