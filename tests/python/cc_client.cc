// What python_client_bench.py compares the Python client with: the C++ client sends one item N times over one stream.
// Prints items a second and the milliseconds of CPU that an item took here.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "client/client.h"
#include "client/embed_stream.h"

namespace vitower {
namespace {

struct Flags {
  std::string server;
  std::string file;
  uint32_t height = 0;
  uint32_t width = 0;
  bool tokens = false;
  int64_t items = 1000;
  int64_t in_flight = 64;
};

EmbedItem MakeItem(const Flags& flags) {
  std::ifstream file(flags.file, std::ios::binary);
  std::string data{std::istreambuf_iterator<char>(file), {}};
  EmbedItem item;
  if (flags.height > 0) {
    item.source = RgbSource{.data = std::move(data), .height = flags.height, .width = flags.width};
    item.do_resize = false;
  } else {
    item.source = ImageSource{std::move(data)};
  }
  (flags.tokens ? item.tokens : item.pooled) = true;
  return item;
}

absl::Status Send(EmbedStream& stream, const EmbedItem& item, int64_t items) {
  for (int64_t key = 0; key < items; ++key) {
    if (absl::Status status = stream.Write(static_cast<uint64_t>(key), item); !status.ok()) return status;
  }
  stream.WritesDone();
  return absl::OkStatus();
}

absl::Status ReadAll(EmbedStream& stream, int64_t items) {
  for (int64_t i = 0; i < items; ++i) {
    const absl::StatusOr<std::optional<StreamAnswer>> answer = stream.Read();
    if (!answer.ok()) return answer.status();
    if (!answer->has_value()) return absl::InternalError("the stream ended too soon");
    if (!(*answer)->result.status.ok()) return (*answer)->result.status;
  }
  return absl::OkStatus();
}

absl::Status Run(Client& client, const Flags& flags, int64_t items) {
  StreamOptions options;
  options.max_items = flags.in_flight;
  const std::unique_ptr<EmbedStream> stream = client.OpenStream(options);
  const EmbedItem item = MakeItem(flags);
  absl::Status sent;
  std::thread sender([&] { sent = Send(*stream, item, items); });
  const absl::Status read = ReadAll(*stream, items);
  if (!read.ok()) stream->Cancel();
  sender.join();
  return read.ok() ? sent : read;
}

int Measure(const Flags& flags) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Create({.server = flags.server});
  absl::Status status = client.ok() ? Run(**client, flags, /*items=*/50) : client.status();
  const std::clock_t cpu = std::clock();
  const auto start = std::chrono::steady_clock::now();
  if (status.ok()) status = Run(**client, flags, flags.items);
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  if (!status.ok()) {
    std::fprintf(stderr, "cc_client: %s\n", status.ToString().c_str());
    return 1;
  }
  const auto items = static_cast<double>(flags.items);
  std::printf("%.1f %.4f\n", items / wall.count(),
              static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC / items * 1e3);
  return 0;
}

}  // namespace
}  // namespace vitower

int main(int argc, char** argv) {
  CLI::App app("The C++ client, measured");
  vitower::Flags flags;
  app.add_option("--server", flags.server)->required();
  app.add_option("--file", flags.file, "an encoded image, or raw RGB of --height and --width")->required();
  app.add_option("--height", flags.height);
  app.add_option("--width", flags.width);
  app.add_flag("--tokens", flags.tokens, "ask for tokens, not for the pooled vector");
  app.add_option("--items", flags.items)->capture_default_str();
  app.add_option("--in-flight", flags.in_flight)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return vitower::Measure(flags);
}
