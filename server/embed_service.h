// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "server/clock.h"
#include "server/lifecycle.h"
#include "server/metrics.h"
#include "server/pipeline.h"
#include "server/server.h"
#include "vitower/v1/vitower.grpc.pb.h"

namespace vitower {

// The RPCs: from bytes to a Call and back. Embed is raw, so that parsing and serialising are measured as the stages
// receive and encode. Handlers do not block. Thread-safe.
class EmbedService final
    : public v1::VisionEmbedder::WithRawCallbackMethod_Embed<v1::VisionEmbedder::WithCallbackMethod_EmbedStream<
          v1::VisionEmbedder::WithCallbackMethod_GetModelInfo<v1::VisionEmbedder::Service>>> {
 public:
  EmbedService(v1::ModelInfo model_info, Lifecycle& lifecycle, Metrics& metrics, Clock& clock);

  // Before the state is kServing. `pipeline` must outlive the service's last call.
  void SetPipeline(Pipeline* pipeline) { pipeline_ = pipeline; }

  grpc::ServerUnaryReactor* Embed(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* reply) override;
  grpc::ServerBidiReactor<v1::EmbedStreamRequest, v1::EmbedStreamResponse>* EmbedStream(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context, const v1::GetModelInfoRequest* request,
                                         v1::ModelInfo* reply) override;

 private:
  friend class EmbedReactor;

  const v1::ModelInfo model_info_;
  Lifecycle& lifecycle_;
  Metrics& metrics_;
  Clock& clock_;
  Pipeline* pipeline_ = nullptr;  // read only by calls that entered the lifecycle
};

// What GetModelInfo answers.
v1::ModelInfo DescribeModel(const EncoderInfo& info, const std::string& devices, const ServerOptions& options);

}  // namespace vitower
