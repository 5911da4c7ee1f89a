// Lets a script compare preprocess/ with the reference: one mode, stdin to stdout until end of file.
//   smart_resize   lines "height width factor min_pixels max_pixels" -> "height width" or "error: ..."
//   resample       records of int32 in_h in_w out_h out_w and the RGB bytes -> the resized bytes
//   decode         records of int32 size, int32 background (0xRRGGBB, or -1 for none) and the encoded bytes
//                  -> int32 height width and the RGB bytes, or int32 0 size and the error's text
#include <cstdint>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "preprocess/image.h"
#include "preprocess/resample.h"

namespace vitower {
namespace {

bool ReadInts(std::vector<int32_t>& values) {
  return static_cast<bool>(std::cin.read(reinterpret_cast<char*>(values.data()),
                                         static_cast<std::streamsize>(values.size() * sizeof(int32_t))));
}

std::vector<uint8_t> ReadBytes(int64_t count) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  std::cin.read(reinterpret_cast<char*>(bytes.data()), count);
  return bytes;
}

void WriteBytes(const void* data, size_t size) {
  std::cout.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
}

void WriteInts(int64_t first, int64_t second) {
  const int32_t values[] = {static_cast<int32_t>(first), static_cast<int32_t>(second)};
  WriteBytes(values, sizeof(values));
}

void SmartResizeLines() {
  ImageSize size;
  int64_t factor = 0;
  int64_t min_pixels = 0;
  int64_t max_pixels = 0;
  while (std::cin >> size.height >> size.width >> factor >> min_pixels >> max_pixels) {
    const absl::StatusOr<ImageSize> resized = SmartResize(size, factor, min_pixels, max_pixels);
    if (resized.ok()) {
      std::cout << resized->height << ' ' << resized->width << '\n';
    } else {
      std::cout << "error: " << std::string(resized.status().message()) << '\n';
    }
  }
}

void ResampleRecords() {
  std::vector<int32_t> sizes(4);
  while (ReadInts(sizes)) {
    const ImageSize from = {.height = sizes[0], .width = sizes[1]};
    const ImageSize to = {.height = sizes[2], .width = sizes[3]};
    const std::vector<uint8_t> input = ReadBytes(3 * from.height * from.width);
    std::vector<uint8_t> output(static_cast<size_t>(3 * to.height * to.width));
    ResampleBicubic(input, from, absl::MakeSpan(output), to);
    WriteBytes(output.data(), output.size());
  }
}

absl::StatusOr<RgbImage> Decode(const std::vector<uint8_t>& bytes, int32_t background) {
  const absl::StatusOr<ImageHeader> header = ProbeImage(bytes);
  if (!header.ok()) return header.status();
  ImageOptions options;
  const auto byte = [&](int shift) { return static_cast<uint8_t>(background >> shift); };
  if (background >= 0) options.background = {byte(16), byte(8), byte(0)};
  return DecodeImage(bytes, *header, options);
}

void DecodeRecords() {
  std::vector<int32_t> record(2);
  while (ReadInts(record)) {
    const absl::StatusOr<RgbImage> image = Decode(ReadBytes(record[0]), record[1]);
    if (image.ok()) {
      WriteInts(image->size.height, image->size.width);
      WriteBytes(image->rgb.data(), image->rgb.size());
    } else {
      const std::string message(image.status().message());
      WriteInts(0, static_cast<int64_t>(message.size()));
      WriteBytes(message.data(), message.size());
    }
  }
}

}  // namespace
}  // namespace vitower

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  const std::string_view mode = argc == 2 ? argv[1] : "";
  if (mode == "smart_resize") {
    vitower::SmartResizeLines();
  } else if (mode == "resample") {
    vitower::ResampleRecords();
  } else if (mode == "decode") {
    vitower::DecodeRecords();
  } else {
    std::cerr << "usage: preprocess_probe smart_resize|resample|decode\n";
    return 2;
  }
  return std::cout.flush() ? 0 : 1;
}
