#include "tests/support/test_images.h"

namespace vitower {
namespace {

void AppendLittle(std::string& out, uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}

void AppendBig(std::string& out, uint32_t value) {
  for (int i = 3; i >= 0; --i) out += static_cast<char>(value >> (8 * i));
}

uint32_t Crc32(const std::string& bytes) {
  uint32_t crc = ~0U;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB8'8320U : 0U);
  }
  return ~crc;
}

// A picture of its own two colours, of which it uses the first. LZW codes of 8 bits are bytes; 128, sent often enough,
// keeps them from growing.
void AppendGifFrame(std::string& gif, uint16_t width, uint16_t height, Colour colour) {
  constexpr int kClear = 128;
  gif += ',';
  AppendLittle(gif, 0, 4);
  AppendLittle(gif, width, 2);
  AppendLittle(gif, height, 2);
  AppendLittle(gif, 0x86, 1);  // 128 local colours
  for (const uint8_t channel : {colour.red, colour.green, colour.blue}) gif += static_cast<char>(channel);
  gif.append(127 * 3, '\0');
  gif += '\x07';  // bits a pixel
  for (int left = width * height; left > 0; left -= 100) {
    const int codes = left < 100 ? left : 100;
    AppendLittle(gif, static_cast<uint32_t>(codes) + 1, 1);
    AppendLittle(gif, kClear, 1);
    gif.append(static_cast<size_t>(codes), '\0');
  }
  AppendLittle(gif, 0x8101, 2);  // one byte: the end
  AppendLittle(gif, 0, 1);
}

}  // namespace

std::string SolidBmp(int64_t width, int64_t height, Colour colour) {
  constexpr uint32_t kHeaderBytes = 54;
  const auto row_bytes = static_cast<uint32_t>((width * 3 + 3) / 4 * 4);
  const uint32_t pixel_bytes = row_bytes * static_cast<uint32_t>(height);
  std::string bmp = "BM";
  for (const uint32_t field : {kHeaderBytes + pixel_bytes, 0U, kHeaderBytes, 40U}) AppendLittle(bmp, field, 4);
  AppendLittle(bmp, static_cast<uint32_t>(width), 4);
  AppendLittle(bmp, static_cast<uint32_t>(height), 4);
  AppendLittle(bmp, 1, 2);   // planes
  AppendLittle(bmp, 24, 2);  // bits a pixel
  for (const uint32_t field : {0U, pixel_bytes, 2835U, 2835U, 0U, 0U}) AppendLittle(bmp, field, 4);
  std::string row;
  for (int64_t x = 0; x < width; ++x) {
    row += static_cast<char>(colour.blue);
    row += static_cast<char>(colour.green);
    row += static_cast<char>(colour.red);
  }
  row.resize(row_bytes);
  for (int64_t y = 0; y < height; ++y) bmp += row;
  return bmp;
}

std::string PngHeader(uint32_t width, uint32_t height) {
  std::string chunk = "IHDR";
  AppendBig(chunk, width);
  AppendBig(chunk, height);
  chunk += std::string("\x08\x02\x00\x00\x00", 5);  // 8 bits, RGB
  std::string png = "\x89PNG\r\n\x1a\n";
  AppendBig(png, 13);
  png += chunk;
  AppendBig(png, Crc32(chunk));
  return png;
}

std::string AnimatedGif(uint16_t width, uint16_t height, const std::vector<Colour>& frames, uint16_t centiseconds) {
  std::string gif = "GIF89a";
  AppendLittle(gif, width, 2);
  AppendLittle(gif, height, 2);
  AppendLittle(gif, 0x70, 3);  // no global colours
  for (const Colour& colour : frames) {
    gif += std::string("\x21\xF9\x04\x04", 4);  // graphic control: leave the frame in place
    AppendLittle(gif, centiseconds, 2);
    AppendLittle(gif, 0, 2);
    AppendGifFrame(gif, width, height, colour);
  }
  return gif + '\x3B';
}

std::string SolidRgb(int64_t width, int64_t height, const std::vector<Colour>& frames) {
  std::string rgb;
  for (const Colour& colour : frames) {
    for (int64_t i = 0; i < width * height; ++i) {
      for (const uint8_t channel : {colour.red, colour.green, colour.blue}) rgb += static_cast<char>(channel);
    }
  }
  return rgb;
}

}  // namespace vitower
