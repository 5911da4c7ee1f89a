#include "cli/remote_embed.h"

#include <algorithm>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/read_ahead.h"
#include "client/client.h"

namespace vitower {
namespace {

constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{500};

// The files of one call: [begin, end).
struct Group {
  size_t begin = 0;
  size_t end = 0;
};

// What became of one call: an answer for each file, or why the run cannot go on.
struct GroupAnswer {
  absl::Status failure;
  std::vector<absl::StatusOr<Embedding>> answers;
};

std::string SafetensorsDType(WireDType dtype) {
  return dtype == WireDType::kFp32 ? "F32" : dtype == WireDType::kFp16 ? "F16" : "BF16";
}

WireDType ToWire(const std::optional<DType>& dtype) {
  if (!dtype) return WireDType::kUnspecified;
  return *dtype == DType::kFp32 ? WireDType::kFp32 : *dtype == DType::kFp16 ? WireDType::kFp16 : WireDType::kBf16;
}

EmbedItem MakeItem(std::string image, const EmbedChoices& choices, const std::vector<uint32_t>& levels) {
  EmbedItem item;
  item.image = std::move(image);
  if (choices.image.min_pixels) item.min_pixels = static_cast<uint64_t>(*choices.image.min_pixels);
  if (choices.image.max_pixels) item.max_pixels = static_cast<uint64_t>(*choices.image.max_pixels);
  if (choices.image.no_resize) item.do_resize = false;
  if (choices.image.no_exif) item.apply_exif = false;
  item.background = choices.image.background;
  item.tokens = choices.outputs.tokens;
  item.deepstack_levels = levels;
  item.pooled = choices.outputs.pooled;
  item.dtype = ToWire(choices.dtype);
  return item;
}

// The server's answer as an Embedding. Its outputs are put into the order in which results are written.
absl::StatusOr<Embedding> ToEmbedding(EmbedResult result, const std::vector<std::string>& names) {
  if (!result.status.ok()) return result.status;
  Embedding embedding;
  embedding.grid = {result.grid_thw[0], result.grid_thw[1], result.grid_thw[2]};
  embedding.token_count = result.token_count;
  embedding.stage_seconds = std::move(result.stage_seconds);
  for (const std::string& name : names) {
    if (name == "grid_thw") continue;
    const auto output = std::find_if(result.outputs.begin(), result.outputs.end(),
                                     [&](const OutputTensor& candidate) { return candidate.name == name; });
    if (output == result.outputs.end()) return absl::InternalError(absl::StrCat("the server did not send ", name));
    embedding.tensors.push_back(
        {name, SafetensorsDType(output->dtype), std::move(output->shape), std::move(output->data)});
  }
  embedding.tensors.push_back(GridTensor("grid_thw", embedding.grid, {3}));
  return embedding;
}

class RemoteSource final : public EmbeddingSource {
 public:
  RemoteSource(RemoteOptions options, std::unique_ptr<Client> client, ServedModel served)
      : options_(std::move(options)),
        client_(std::move(client)),
        served_(std::move(served)),
        model_{served_.name, served_.fingerprint, served_.deepstack_visual_indexes.size()} {}

  const ModelIdentity& model() const override { return model_; }

  absl::Status Run(absl::Span<const InputFile> files, const EmbedChoices& choices, const EmbeddingSink& sink) override {
    const absl::StatusOr<std::vector<uint32_t>> levels = WantedLevels(choices.outputs, model_);
    if (!levels.ok()) return levels.status();
    const std::vector<Group> groups = MakeGroups(files);
    ReadAhead<GroupAnswer> calls(groups.size(), options_.concurrency, options_.concurrency, [&](size_t i) {
      return EmbedGroup(files.subspan(groups[i].begin, groups[i].end - groups[i].begin), choices, *levels);
    });
    for (const Group& group : groups) {
      GroupAnswer answer = calls.Next();
      if (!answer.failure.ok()) return answer.failure;
      for (size_t i = group.begin; i < group.end; ++i) {
        absl::Status status = sink(i, std::move(answer.answers[i - group.begin]));
        if (!status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

 private:
  // Up to batch_items files of together at most half of what the server takes in one message.
  std::vector<Group> MakeGroups(absl::Span<const InputFile> files) const {
    const size_t max_items = std::min<size_t>(options_.batch_items, std::max<int64_t>(served_.max_request_items, 1));
    const auto max_bytes = static_cast<uintmax_t>(served_.max_request_bytes / 2);
    std::vector<Group> groups;
    uintmax_t group_bytes = 0;
    for (size_t i = 0; i < files.size(); ++i) {
      std::error_code error;
      const uintmax_t size = std::filesystem::file_size(files[i].path, error);
      const uintmax_t bytes = error ? 0 : size;
      if (groups.empty() || i - groups.back().begin >= max_items || group_bytes + bytes > max_bytes) {
        groups.push_back({i, i});
        group_bytes = 0;
      }
      groups.back().end = i + 1;
      group_bytes += bytes;
    }
    return groups;
  }

  GroupAnswer EmbedGroup(absl::Span<const InputFile> files, const EmbedChoices& choices,
                         const std::vector<uint32_t>& levels) const {
    GroupAnswer answer;
    std::vector<EmbedItem> items;
    std::vector<size_t> item_files;
    for (size_t i = 0; i < files.size(); ++i) {
      absl::StatusOr<std::string> bytes = ReadWithinLimit(files[i]);
      answer.answers.push_back(bytes.ok() ? absl::InternalError("not answered") : bytes.status());
      if (!bytes.ok()) continue;
      items.push_back(MakeItem(*std::move(bytes), choices, levels));
      item_files.push_back(i);
    }
    if (items.empty()) return answer;
    const Client::Deadline deadline = std::chrono::system_clock::now() + options_.timeout;
    absl::StatusOr<std::vector<EmbedResult>> results = EmbedPatiently(items, deadline);
    if (!results.ok()) {
      answer.failure = results.status();
      return answer;
    }
    const std::vector<std::string> names = TensorNames(choices.outputs, levels);
    for (size_t i = 0; i < items.size(); ++i) {
      answer.answers[item_files[i]] = ToEmbedding(std::move((*results)[i]), names);
    }
    return answer;
  }

  // gRPC answers a message above the server's limit with RESOURCE_EXHAUSTED, for which waiting is no cure.
  absl::StatusOr<std::string> ReadWithinLimit(const InputFile& file) const {
    constexpr int64_t kRoomForTheRest = 4096;
    absl::StatusOr<std::string> bytes = ReadInput(file);
    if (!bytes.ok() || static_cast<int64_t>(bytes->size()) <= served_.max_request_bytes - kRoomForTheRest) return bytes;
    return absl::InvalidArgumentError(absl::StrCat("has ", bytes->size(),
                                                   " bytes: the server takes messages of at most ",
                                                   served_.max_request_bytes, " (max_request_bytes)"));
  }

  absl::StatusOr<std::vector<EmbedResult>> EmbedPatiently(absl::Span<const EmbedItem> items,
                                                          Client::Deadline deadline) const {
    for (auto pause = kFirstPause;; pause = std::min(pause * 2, kLongestPause)) {
      absl::StatusOr<std::vector<EmbedResult>> results = client_->Embed(items, deadline);
      if (results.ok() || results.status().code() != absl::StatusCode::kResourceExhausted) return results;
      const std::optional<std::chrono::milliseconds> wait = RetryAfter(results.status());
      if (!wait) return Split(items, results.status(), deadline);
      const std::chrono::milliseconds longer = std::max<std::chrono::milliseconds>(pause, *wait);
      if (std::chrono::system_clock::now() + longer >= deadline) return results;
      std::this_thread::sleep_for(longer);
    }
  }

  // A call that is too large for the server is two smaller ones; a single item that is too large is refused.
  absl::StatusOr<std::vector<EmbedResult>> Split(absl::Span<const EmbedItem> items, const absl::Status& refusal,
                                                 Client::Deadline deadline) const {
    if (items.size() == 1) {
      EmbedResult refused;
      refused.status = absl::InvalidArgumentError(refusal.message());
      return std::vector<EmbedResult>{refused};
    }
    absl::StatusOr<std::vector<EmbedResult>> first = EmbedPatiently(items.subspan(0, items.size() / 2), deadline);
    if (!first.ok()) return first;
    absl::StatusOr<std::vector<EmbedResult>> second = EmbedPatiently(items.subspan(items.size() / 2), deadline);
    if (!second.ok()) return second;
    std::move(second->begin(), second->end(), std::back_inserter(*first));
    return first;
  }

  const RemoteOptions options_;
  const std::unique_ptr<Client> client_;
  const ServedModel served_;
  const ModelIdentity model_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddingSource>> OpenRemote(const RemoteOptions& options) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Create({.server = options.server});
  if (!client.ok()) return client.status();
  const Client::Deadline deadline =
      std::chrono::system_clock::now() + std::min<std::chrono::microseconds>(options.timeout, std::chrono::seconds(10));
  absl::StatusOr<ServedModel> served = (*client)->GetModelInfo(deadline);
  if (!served.ok()) {
    return absl::Status(served.status().code(),
                        absl::StrCat("--server ", options.server, ": ", std::string(served.status().message())));
  }
  return std::make_unique<RemoteSource>(options, *std::move(client), *std::move(served));
}

}  // namespace vitower
